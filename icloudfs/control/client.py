"""The side that asks."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import msgspec
import trio

from icloudfs.control.messages import Answer, Done, Failed, Request, decode_answer, encode
from icloudfs.control.socket import lines, short
from icloudfs.errors import IcloudfsError, ProtocolError
from icloudfs.progress import Note, Progress, Report


class NobodyThere(IcloudfsError):
    """No process answers on the socket."""


async def ask(path: Path, request: Request, report: Report) -> Any:
    """Have the process behind the socket ``path`` do something; its result.

    Raises NobodyThere, and whatever error the other side met.
    """
    async with await _connect(path) as stream:
        await stream.send_all(encode(request) + b"\n")
        try:
            return await _outcome(stream, report)
        except trio.BrokenResourceError:
            raise NobodyThere("The running icloudfs ended before it was done.") from None


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
    async for line in lines(stream):
        match _decode(line):
            case Progress() | Note() as told:
                report(told)
            case Done(result):
                return result
            case Failed(error, hint, exit_code):
                raise _as_ours(error, hint, exit_code)
    raise NobodyThere("The running icloudfs ended before it was done.")


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
