"""The side that holds the state: answers requests, one task each."""

from __future__ import annotations

import math
import os
import select
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from icloudfs.aside import keep_going, say
from icloudfs.control.messages import (
    Alive,
    Answer,
    Done,
    Failed,
    Request,
    decode_request,
    encode,
)
from icloudfs.control.socket import BEAT, lines, short
from icloudfs.errors import IcloudfsError, one_error
from icloudfs.progress import Report

_REST = 10.0
"""Seconds until a socket that failed is made anew."""

Handler = Callable[[Request, Report], Awaitable[Any]]
"""Does what a request asks, telling its progress; returns JSON values."""


async def serve(
    path: Path, handler: Handler, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer requests on the socket ``path`` until cancelled. Whoever calls holds the writer's lock,
    so a socket that is there already was left by a process that died."""
    try:
        listeners = [await _listen(path)]
        task_status.started()

        async def answer() -> None:
            await trio.serve_listeners(
                partial(_answer_in_peace, handler),
                [listeners.pop() if listeners else await _listen(path)],
            )

        await keep_going(answer, _REST)
    finally:
        _remove(path)


async def _listen(path: Path) -> trio.SocketListener:
    _remove(path)
    listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Not by the umask, which is every thread's: directories that the cache makes at this moment could not
    # be entered.
    os.fchmod(listener.fileno(), 0o600)
    with short(path) as name:
        await listener.bind(name)
    listener.listen()
    return trio.SocketListener(listener)


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()


async def _answer_in_peace(handler: Handler, stream: trio.SocketStream) -> None:
    """Whatever happens to one client is no matter to the others."""
    try:
        with one_error():
            await _answer(handler, stream)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # it went away
    except Exception as error:
        say(error, "the control socket")


async def _answer(handler: Handler, stream: trio.SocketStream) -> None:
    async with stream:
        incoming = lines(stream)
        line = await anext(incoming, None)
        if line is None or _has_gone(stream):
            return  # who gave up while we could not answer was told that nothing is done
        outgoing, to_send = trio.open_memory_channel[Answer](math.inf)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_gone, incoming, nursery.cancel_scope)
            nursery.start_soon(_send, to_send, stream, nursery.cancel_scope)
            nursery.start_soon(_beat, outgoing)
            with outgoing:
                outgoing.send_nowait(await _outcome(handler, line, outgoing.send_nowait))


async def _outcome(handler: Handler, line: bytes, report: Report) -> Done | Failed:
    try:
        request = decode_request(line)
        with one_error():
            return Done(await handler(request, report))
    except IcloudfsError as error:
        return Failed(str(error), error.hint, error.exit_code)
    except msgspec.DecodeError as error:
        return Failed(
            f"The running icloudfs does not understand this one: {error}",
            "Both must be of one version: unmount, and mount again.",
        )
    except Exception as error:
        say(error, "a request on the control socket")
        return Failed(
            "The running icloudfs met an error that was not foreseen.", "Its log tells it."
        )


def _has_gone(stream: trio.SocketStream) -> bool:
    look = select.poll()
    look.register(stream.socket.fileno(), select.POLLRDHUP)
    return bool(look.poll(0))


async def _cancel_when_gone(incoming: Any, scope: trio.CancelScope) -> None:
    """A client that has gone wants no result: what runs for it alone is cut off."""
    with suppress(trio.BrokenResourceError):
        await anext(incoming, None)
    scope.cancel()


async def _beat(outgoing: trio.MemorySendChannel[Answer]) -> None:
    with suppress(trio.ClosedResourceError):  # the outcome is said, and on its way
        while True:
            await trio.sleep(BEAT)
            outgoing.send_nowait(Alive())


async def _send(
    to_send: trio.MemoryReceiveChannel[Answer], stream: trio.SocketStream, scope: trio.CancelScope
) -> None:
    async for answer in to_send:
        await stream.send_all(encode(answer) + b"\n")
    scope.cancel()
