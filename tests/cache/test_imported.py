"""Imported files are used where they lie, for as long as they are what was imported."""

# ruff: noqa: ASYNC240 (what a test looks at on disk may block it)

from __future__ import annotations

import os
from pathlib import Path

import pytest

from icloudfs.cache.holding import identity
from icloudfs.state import contents
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.server import KIB, MIB, Server, read_all, running, some_bytes

CONTENT = some_bytes(MIB)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "IMG_0001.JPG"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def photo(server: Server, database: Database, original: Path) -> File:
    file = server.add(CONTENT)
    database.write_now(
        lambda connection: contents.set_downloaded(
            connection,
            file.checksum,
            file.size,
            str(original),
            sha256="",
            verified=True,
            now=0,
            identity=identity(original.stat()),
        )
    )
    return file


async def test_it_is_read_where_it_lies(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    async with running(directory, database, server, limit=1) as cache:
        assert await read_all(cache, photo) == CONTENT
        assert cache.usage == 0
        assert await cache.evict(100 * MIB) == 0
        assert await read_all(cache, photo) == CONTENT
    assert server.gets == []


async def test_one_that_changed_no_longer_counts(
    server: Server, directory: Path, database: Database, photo: File, original: Path
) -> None:
    original.write_bytes(some_bytes(MIB, 1))
    wrong: list[str] = []
    async with running(directory, database, server, wrong=wrong) as cache:
        assert await read_all(cache, photo) == CONTENT
        assert wrong == [photo.checksum] and cache.usage == MIB
    assert original.read_bytes() == some_bytes(MIB, 1)
    row = contents.get(database.reader, photo.checksum)
    assert row is not None and not row.imported and row.status == "downloaded"


async def test_one_that_changes_while_it_is_open(
    server: Server, directory: Path, database: Database, photo: File, original: Path
) -> None:
    wrong: list[str] = []
    async with running(directory, database, server, wrong=wrong) as cache:
        handle = cache.open(photo)
        assert await handle.read(0, KIB) == CONTENT[:KIB]
        with original.open("r+b") as file:
            file.write(b"edited")
        os.utime(original, (1, 1))
        assert await handle.read(0, KIB) == CONTENT[:KIB]
        assert wrong == [photo.checksum]
        handle.close()
    assert original.read_bytes()[:6] == b"edited"
