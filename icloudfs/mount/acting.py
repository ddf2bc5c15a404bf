"""Having steps done by a process of ours (actor.py): started when it is first needed, ended with the mount."""

from __future__ import annotations

import contextlib
import errno
import logging
import marshal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from icloudfs.mount import actor
from icloudfs.mount.replay import Stage, Step

log = logging.getLogger(__name__)

DEADLINE = 3.0
"""Seconds for one step. They take less than a millisecond; a directory that is busy for longer than this is
stuck, and nobody's window is worth waiting for it."""

_AFTER_HANGING = 1.0
"""Seconds without an actor after one hung: the other steps of the same change are not waited for as well."""

_UNTIL_AGAIN = 60.0
"""Seconds without an actor after one could not be started."""


@asynccontextmanager
async def acting(stage: Stage) -> AsyncIterator[Acting]:
    """An actor for the mount of ``stage``, to be used while the session is served."""
    hired = Acting(stage)
    try:
        yield hired
    finally:
        with trio.CancelScope(shield=True):
            await hired.dismiss()


class Acting:
    """One actor at a time, and a new one if it is lost."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._process: trio.Process | None = None
        self._not_before = 0.0

    async def do(self, step: Step) -> int:
        """0 when the step was done, else the errno of why not. Whatever happens: an errno, and in time."""
        try:
            with trio.fail_after(DEADLINE):
                process = await self._hired()
                if process is None:
                    return errno.ECHILD
                with self._stage.expecting(step, process.pid):
                    answer = await _asked(process, step)
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            log.warning("%s of %r could not be replayed: %r", step.call, step.name, error)
            if isinstance(error, trio.TooSlowError):
                self._not_before = trio.current_time() + _AFTER_HANGING
            await self.dismiss()
            return errno.EIO
        return answer

    async def dismiss(self) -> None:
        """Let it go. A call that it is in ends by itself, sooner or later, and is refused from now on."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                await pipe.aclose()
        # It has ended in a millisecond, unless it waits for the kernel.
        with trio.move_on_after(1.0):
            await process.wait()

    async def _hired(self) -> trio.Process | None:
        if self._process is None and trio.current_time() >= self._not_before:
            try:
                self._process = await self._hire()
            except OSError as error:
                log.warning("folders are not live for now: %s", error)
                self._not_before = trio.current_time() + _UNTIL_AGAIN
        return self._process

    async def _hire(self) -> trio.Process:
        mounted = self._stage.mounted
        if mounted is None or not mounted.ours:
            raise OSError(errno.ENOTCONN, "nothing is mounted")
        shown = "ro" if self._stage.shown_read_only else "rw"
        # Isolated and without site-packages: it starts in 20 ms. Neither Ctrl-C nor a folder of its own
        # must matter to it.
        return await trio.lowlevel.open_process(
            [
                *(sys.executable, "-I", "-S", actor.__file__),
                *(str(mounted.path), str(mounted.minor), shown),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path("/"),
            start_new_session=True,
        )


async def _asked(process: trio.Process, step: Step) -> int:
    assert process.stdin is not None and process.stdout is not None
    order: list[str | bytes | int] = [step.call, step.path, step.name, *step.details]
    await process.stdin.send_all(marshal.dumps(order))
    received = b""
    while len(received) < actor.ANSWER.size:
        part = await process.stdout.receive_some(actor.ANSWER.size - len(received))
        if not part:
            raise trio.BrokenResourceError("it has ended")
        received += part
    return int(actor.ANSWER.unpack(received)[0])
