"""``mount`` without ``--foreground``: the daemon is a child, and the command returns when it is ready.

The child says over a pipe how it went, in lines of JSON: ready, or an error with its hint and exit code; then
how far the first listing is, for as long as that takes and the parent listens.
Until it is ready it stays in the parent's process group: under an automount, a process of another group that
touches the folder waits for the mount that it is about to make (facts/desktop.md §0.11). Where mount(8) waits
until everything is listed, it stays there until then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Self

import msgspec

from icloudfs import ours, pathtext
from icloudfs.errors import IcloudfsError, MountPointError
from icloudfs.progress import Progress, Report

VARIABLE = "ICLOUDFS_READY_FD"
"""The environment variable that tells a child the number of its end of the pipe."""


_MOST_NAMED = 5
"""Of what is refused."""


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the child tells: ready, or why not; then how far it is with the first listing, and its end."""

    ready: bool = False
    listed: bool = False
    """Everything that iCloud gives is listed."""
    refused: list[str] = []
    """What it does not give, in words."""
    progress: Progress | None = None
    error: str = ""
    hint: str = ""
    exit_code: int = 1


class StartFailed(IcloudfsError):
    """The daemon could not start; carries the exit code and the hint of its own error."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error, hint=outcome.hint)
        self.exit_code = outcome.exit_code


class Started:
    """A daemon whose mount is ready. Leave the context and it is left to itself."""

    def __init__(self, pid: int, told: IO[bytes], first: Outcome) -> None:
        self.pid = pid
        self.is_listed = first.listed
        """Whether everything was listed already."""
        self._told = told
        self._last = first

    def until_listed(self, report: Report) -> list[str]:
        """Wait for the end of the first listing; what iCloud refused of it, in words.

        Raises StartFailed with the error if somebody has to do something before it can go on, and
        MountPointError if the daemon ended.
        """
        while not self._last.listed:
            outcome = _decode(self._told.readline())
            if outcome is None:
                raise MountPointError("The daemon ended before everything was listed.")
            if outcome.error:
                raise StartFailed(outcome)
            if outcome.progress is not None:
                report(outcome.progress)
            self._last = outcome
        return self._last.refused

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._told.close()


def start(command: Sequence[str], *, output: Path | None) -> Started:
    """Start the daemon ``command`` and wait until its mount is ready.

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
    with ExitStack() as stack:
        told = stack.enter_context(os.fdopen(reading, "rb"))
        outcome = _decode(told.readline())
        if outcome is None:
            raise _silent_death(daemon.wait(), output)
        if not outcome.ready:
            daemon.wait()
            raise StartFailed(outcome)
        stack.pop_all()
    # It outlives us: there is no end to wait for, and Popen must not complain.
    daemon.returncode = 0
    return Started(daemon.pid, told, outcome)


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
    """The child's side. In a process that nobody waits for, it does nothing; and nothing here waits."""

    def __init__(self, *, stays_in_group: bool = False) -> None:
        """``stays_in_group``: of the parent, until everything is listed."""
        number = os.environ.pop(VARIABLE, None)
        self._pipe = None if number is None else os.fdopen(int(number), "wb", buffering=0)
        self._stays_in_group = stays_in_group
        if self._pipe is not None:
            # fusermount3 and others must not hold it; and a parent that was stopped reads nothing.
            os.set_inheritable(self._pipe.fileno(), False)
            os.set_blocking(self._pipe.fileno(), False)

    @property
    def is_awaited(self) -> bool:
        """Whether anybody may be listening."""
        return self._pipe is not None

    def ready(self, *, listed: bool) -> None:
        """The mount is there: let the parent go, and leave its session and process group. ``listed``: and there
        is nothing more to tell."""
        if listed or not self._stays_in_group:
            self._leave_group()
        self._tell(Outcome(ready=True, listed=listed))
        if listed:
            self._close()

    def is_at(self, progress: Progress) -> None:
        """How far the first listing is."""
        self._tell(Outcome(progress=progress))

    def listed(self, refused: list[str]) -> bool:
        """Everything is listed, but for what is ``refused``. False: to be said again, as there was no room."""
        told = self._tell(Outcome(listed=True, refused=refused[:_MOST_NAMED]))
        if told:
            self._close()
        return told

    def failed(self, error: IcloudfsError) -> None:
        """It could not be mounted, or waits for a person; the parent shows ``error`` and ends with its exit
        code."""
        self._tell(Outcome(error=str(error), hint=error.hint, exit_code=error.exit_code))
        self._close()

    def _leave_group(self) -> None:
        if self._pipe is not None:
            with contextlib.suppress(PermissionError):  # already the leader of a group
                os.setsid()

    def _tell(self, outcome: Outcome) -> bool:
        """Whether it was said, or nobody is there to hear it."""
        if self._pipe is not None:
            try:
                # None: it is full. What is shorter than PIPE_BUF is written as a whole or not at all.
                return self._pipe.write(pathtext.encoded(outcome) + b"\n") is not None
            except BrokenPipeError:
                self._close()
        return True

    def _close(self) -> None:
        if self._pipe is not None:
            self._leave_group()
            self._pipe.close()
            self._pipe = None
