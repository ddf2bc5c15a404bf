"""The side that asks."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import trio

from icloudfs.control.messages import (
    Alive,
    Answer,
    Done,
    Failed,
    Look,
    Request,
    decode_answer,
    encode,
)
from icloudfs.control.socket import SILENCE, lines, short
from icloudfs.errors import IcloudfsError, ProtocolError
from icloudfs.progress import Note, Progress, Report, to_nobody

_PATIENCE = 2.0
"""Seconds for a running icloudfs to say what it is at."""


class NobodyThere(IcloudfsError):
    """No process answers on the socket."""


class CutOff(NobodyThere):
    """It was asked, and ended before it was done."""


class Hangs(NobodyThere):
    """It gives no sign of life."""


async def ask(path: Path, request: Request, report: Report) -> Any:
    """Have the process behind the socket ``path`` do something; its result.

    Raises NobodyThere, and whatever error the other side met.
    """
    async with await _connect(path) as stream:
        try:
            await stream.send_all(encode(request) + b"\n")
            return await _outcome(stream, report)
        except trio.BrokenResourceError:
            raise CutOff("The running icloudfs ended before it was done.") from None


async def look(path: Path) -> dict[str, Any] | None:
    """What the process behind the socket ``path`` is at; None if it does not answer."""
    with trio.move_on_after(_PATIENCE), suppress(IcloudfsError):
        now: dict[str, Any] = await ask(path, Look(), to_nobody)
        return now
    return None


async def listens(path: Path) -> bool:
    """Whether some process does, on the socket ``path``."""
    try:
        async with await _connect(path):
            return True
    except NobodyThere:
        return False


async def _connect(path: Path) -> trio.SocketStream:
    connection = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short(path) as name:
            await connection.connect(name)
    except OSError as error:
        connection.close()
        raise NobodyThere(f"No icloudfs answers on {path}: {error.strerror}.") from error
    return trio.SocketStream(connection)


async def _outcome(stream: trio.SocketStream, report: Report) -> Any:
    incoming = lines(stream)
    while (line := await _next(incoming)) is not None:
        match _decode(line):
            case Alive():
                pass
            case Progress() | Note() as told:
                report(told)
            case Done(result):
                return result
            case Failed(error, hint, exit_code):
                raise _as_ours(error, hint, exit_code)
    raise CutOff("The running icloudfs ended before it was done.")


async def _next(incoming: AsyncIterator[bytes]) -> bytes | None:
    with trio.move_on_after(SILENCE):
        return await anext(incoming, None)
    raise Hangs(f"The running icloudfs has given no sign of life for {SILENCE:g} s.")


def _decode(line: bytes) -> Answer:
    try:
        answer: Answer = decode_answer(line)
        return answer
    except msgspec.DecodeError as error:
        raise ProtocolError(
            f"The running icloudfs answers in words of another version: {error}",
            hint="Unmount, and mount again.",
        ) from error


def _as_ours(message: str, hint: str, exit_code: int) -> IcloudfsError:
    error = IcloudfsError(message, hint=hint)
    error.exit_code = exit_code
    return error
