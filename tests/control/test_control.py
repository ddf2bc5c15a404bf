"""Requests over the socket: results, progress, errors, and clients that go away."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from icloudfs.control import client, server
from icloudfs.control.messages import Look, Prefetch, Request
from icloudfs.control.socket import short
from icloudfs.errors import DiskFull, IcloudfsError
from icloudfs.progress import Note, Progress, Report, to_nobody


@asynccontextmanager
async def answered(path: Path, handler: server.Handler) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, path, handler)
        yield
        nursery.cancel_scope.cancel()


async def test_a_result_and_the_way_to_it(tmp_path: Path) -> None:
    async def handler(request: Request, report: Report) -> Any:
        for done in range(1000):
            report(Progress("counting", done, 1000))
        report(Note("counted"))
        return {"asked": type(request).__name__}

    told: list[Progress | Note] = []
    async with answered(tmp_path / "socket", handler):
        result = await client.ask(tmp_path / "socket", Look(), told.append)
    assert result == {"asked": "Look"}
    assert told == [*(Progress("counting", n, 1000) for n in range(1000)), Note("counted")]
    assert not (tmp_path / "socket").exists()


async def test_nobody_else_may_ask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with answered(tmp_path / "socket", _answer):
            assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


async def test_what_others_make_meanwhile_is_as_they_want_it(tmp_path: Path) -> None:
    """A directory of another thread's, while the socket is being made."""
    ended = False

    def make_directories() -> set[int]:
        modes = set()
        while not ended:
            made = tmp_path / "made"
            made.mkdir(mode=0o700)
            modes.add(made.stat().st_mode & 0o777)
            made.rmdir()
        return modes

    with ThreadPoolExecutor(1) as thread:
        modes = thread.submit(make_directories)
        for _ in range(200):
            async with answered(tmp_path / "socket", _answer):
                pass
        ended = True
        assert modes.result() == {0o700}


async def test_a_socket_that_lies_deep(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    async with answered(deep / "socket", _answer):
        assert await client.ask(deep / "socket", Look(), to_nobody) == "done"


async def test_a_socket_left_by_a_dead_process(tmp_path: Path) -> None:
    (tmp_path / "socket").write_bytes(b"")
    with pytest.raises(client.NobodyThere):
        await client.ask(tmp_path / "socket", Look(), to_nobody)
    async with answered(tmp_path / "socket", _answer):
        assert await client.ask(tmp_path / "socket", Look(), to_nobody) == "done"


async def test_an_error_of_ours_keeps_its_code_and_hint(tmp_path: Path) -> None:
    async def handler(request: Request, report: Report) -> Any:
        raise DiskFull("There is no room.", hint="Make some.")

    async with answered(tmp_path / "socket", handler):
        with pytest.raises(Exception, match="no room") as raised:
            await client.ask(tmp_path / "socket", Prefetch(paths=("a",)), to_nobody)
    assert raised.value.exit_code == DiskFull.exit_code  # type: ignore[attr-defined]
    assert raised.value.hint == "Make some."  # type: ignore[attr-defined]


async def test_a_bug_in_one_request_is_no_matter_to_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Request, report: Report) -> Any:
        if isinstance(request, Prefetch):
            raise ZeroDivisionError
        return "done"

    async with answered(tmp_path / "socket", handler):
        with pytest.raises(IcloudfsError, match="met an error that was not foreseen") as raised:
            await client.ask(tmp_path / "socket", Prefetch(paths=()), to_nobody)
        assert not isinstance(raised.value, client.NobodyThere), "it answers, and goes on"
        assert await client.ask(tmp_path / "socket", Look(), to_nobody) == "done"
    assert "unforeseen" in caplog.text


async def test_words_that_are_not_known(tmp_path: Path) -> None:
    async with answered(tmp_path / "socket", _answer):
        connection = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        with short(tmp_path / "socket") as name:
            await connection.connect(name)
        stream = trio.SocketStream(connection)
        async with stream:
            await stream.send_all(b'{"type":"Dance"}\n')
            assert b"does not understand" in await stream.receive_some()


async def test_who_hangs_up_cuts_the_work_off(tmp_path: Path) -> None:
    ended = trio.Event()

    async def handler(request: Request, report: Report) -> Any:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with answered(tmp_path / "socket", handler):
        with trio.move_on_after(0.05):
            await client.ask(tmp_path / "socket", Look(), to_nobody)
        with trio.fail_after(5):
            await ended.wait()


async def test_no_descriptor_is_left(tmp_path: Path) -> None:
    async with answered(tmp_path / "socket", _answer):
        await client.ask(tmp_path / "socket", Look(), to_nobody)
        before = _descriptors()
        for _ in range(20):
            await client.ask(tmp_path / "socket", Look(), to_nobody)
        await trio.sleep(0.05)
        assert _descriptors() <= before


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def _answer(request: Request, report: Report) -> Any:
    return "done"
