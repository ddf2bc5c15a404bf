"""``mount`` without ``--foreground``: the daemon is a child, and the command returns when it is ready.

The child says over a pipe how it went, one line of JSON: ready, or an error with its hint and exit code.
Until then it stays in the parent's process group: under an automount, a process of another group that touches
the folder waits for the mount that it is about to make (facts/desktop.md §0.11).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from icloudfs import ours, pathtext
from icloudfs.errors import IcloudfsError, MountPointError

VARIABLE = "ICLOUDFS_READY_FD"
"""The environment variable that tells a child the number of its end of the pipe."""


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the child tells: ready, or why not."""

    ready: bool = False
    error: str = ""
    hint: str = ""
    exit_code: int = 1


class StartFailed(IcloudfsError):
    """The daemon could not start; carries the exit code and the hint of its own error."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error, hint=outcome.hint)
        self.exit_code = outcome.exit_code


def start(command: Sequence[str], *, output: Path | None) -> int:
    """Start the daemon ``command`` and wait until its mount is ready; returns its process id.

    What it prints goes to the end of the file ``output``, or to where ours goes. Raises StartFailed with the
    error the daemon reported, MountPointError if it ended without a word.
    """
    reading, writing = os.pipe()
    try:
        with _opened(output) as printed:
            daemon = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                pass_fds=[writing],
                env=os.environ | {VARIABLE: str(writing)},
            )
    except OSError as error:
        os.close(reading)
        raise MountPointError(
            f"The daemon cannot be started: {error.filename}: {error.strerror}."
        ) from error
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb") as told:
        outcome = _decode(told.readline())
    if outcome is None:
        raise _silent_death(daemon.wait(), output)
    if not outcome.ready:
        daemon.wait()
        raise StartFailed(outcome)
    daemon.returncode = (
        0  # it outlives us: there is no end to wait for, and Popen must not complain
    )
    return daemon.pid


@contextlib.contextmanager
def _opened(log_file: Path | None) -> Iterator[IO[bytes] | None]:
    if log_file is None:
        yield None
        return
    with os.fdopen(ours.open_file(log_file, os.O_WRONLY | os.O_APPEND), "ab") as output:
        yield output


def _decode(line: bytes) -> Outcome | None:
    try:
        outcome: Outcome = pathtext.decoded(line, Outcome)
        return outcome
    except msgspec.DecodeError:
        return None


def _silent_death(code: int, log_file: Path | None) -> MountPointError:
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return MountPointError(
        f"The daemon ended {how} before the folder was mounted.",
        hint=f"See {log_file}." if log_file else "",
    )


class Readiness:
    """The child's side. In a process that nobody waits for, it does nothing."""

    def __init__(self) -> None:
        number = os.environ.pop(VARIABLE, None)
        self._pipe = None if number is None else os.fdopen(int(number), "wb")
        if self._pipe is not None:
            os.set_inheritable(
                self._pipe.fileno(), False
            )  # fusermount3 and others must not hold it

    def ready(self) -> None:
        """The mount is there: let the parent go, and leave its session and process group."""
        if self._pipe is not None:
            with contextlib.suppress(PermissionError):  # already the leader of a group
                os.setsid()
            self._tell(Outcome(ready=True))

    def failed(self, error: IcloudfsError) -> None:
        """It could not be mounted; the parent shows ``error`` and ends with its exit code."""
        self._tell(Outcome(error=str(error), hint=error.hint, exit_code=error.exit_code))

    def _tell(self, outcome: Outcome) -> None:
        if self._pipe is not None:
            with contextlib.suppress(BrokenPipeError), self._pipe as pipe:
                pipe.write(pathtext.encoded(outcome) + b"\n")
            self._pipe = None
