"""What is put in the place of a file of the cache is no photo, and keeps nobody waiting."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from icloudfs.cache.places import Places, file_name
from icloudfs.cache.shelf import Shelf
from icloudfs.state import contents
from icloudfs.state.database import Database
from tests.cache.server import KIB, Server, read_all, running, some_bytes

Odd = Callable[[Path], None]


def _link_to_a_fifo(path: Path) -> None:
    os.mkfifo(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _link_to_a_photo(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(some_bytes(300 * KIB, 1))
    path.symlink_to("elsewhere")


@pytest.fixture(params=[os.mkfifo, Path.mkdir, _link_to_a_fifo, _link_to_a_photo])
def put(request: pytest.FixtureRequest) -> Odd:
    odd: Odd = request.param
    return odd


@contextmanager
def at_once() -> Iterator[None]:
    """Who waits for the other end of a FIFO hears of nothing but a signal."""

    def hangs(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(10)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("where", ["content", "partial"])
async def test_it_is_no_content(
    put: Odd, where: str, directory: Path, database: Database, server: Server
) -> None:
    """Of which the row says that it is here, or a part of it."""
    file = server.add(some_bytes(300 * KIB))
    places = Places(directory)
    path = {"content": places.content_path, "partial": places.new_part}[where](file.checksum)
    if where == "partial":
        database.write_now(
            lambda connection: contents.save_ranges(
                connection, file.checksum, file.size, path, [(0, 200 * KIB)], 0
            )
        )
    with at_once():
        async with running(directory, database, server) as cache:
            if where == "content":
                await cache.fetch(file)
                places.absolute(path).unlink()
            put(places.absolute(path))

            assert await read_all(cache, file) == server.contents[file.checksum]
            await cache.fetch(file)

        assert places.absolute(places.content_path(file.checksum)).is_file()
        server.forget_traffic()
        async with running(directory, database, server) as cache:
            assert await read_all(cache, file) == server.contents[file.checksum]
    assert not server.gets


def test_it_is_no_small_picture(put: Odd, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", 10, 1 << 20)
    name = file_name("AABB")
    shelf.put(name, b"small")
    path = next((tmp_path / "shelf").rglob(name))
    path.unlink()
    put(path)

    with at_once(), pytest.raises(OSError, match=r"regular|symbolic"):
        shelf.get(name)


def test_it_does_not_keep_the_cache_from_starting(put: Odd, directory: Path) -> None:
    places = Places(directory)
    places.prepare()
    mark = directory / "in-use"
    mark.unlink()
    put(mark)

    with at_once(), pytest.raises(Exception, match="cannot be used"):
        places.prepare()
