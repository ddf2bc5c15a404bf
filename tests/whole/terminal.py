"""A person at a terminal: a program on a pseudo-terminal, what it shows, what is typed."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_PATIENCE = 20.0


class Terminal:
    """``with Terminal([...], environment) as terminal: terminal.expect('…'); terminal.enter('…')``."""

    def __init__(self, command: list[str | Path], environment: dict[str, str]) -> None:
        ours, theirs = pty.openpty()
        self._fd = ours
        self._seen = 0
        self.shown = ""
        self._process = subprocess.Popen(
            [str(word) for word in command],
            env=environment,
            preexec_fn=lambda: os.login_tty(theirs),  # it must be the controlling terminal
        )
        os.close(theirs)

    def expect(self, text: str) -> None:
        """Wait until ``text`` is shown, after what was expected before."""
        deadline = time.monotonic() + _PATIENCE
        while (at := self.shown.find(text, self._seen)) < 0:
            assert time.monotonic() < deadline, f"no {text!r} in {self.shown!r}"
            assert self._read(1.0), f"it ended without {text!r}: {self.shown!r}"
        self._seen = at + len(text)

    def enter(self, line: str) -> None:
        os.write(self._fd, f"{line}\n".encode())

    def press(self, key: str) -> None:
        os.write(self._fd, key.encode())

    def end(self) -> int:
        """Wait for the program's end; its exit code."""
        while self._read(_PATIENCE):
            pass
        return self._process.wait(_PATIENCE)

    def _read(self, seconds: float) -> bool:
        """Take in what comes within some seconds; False at the end."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return True
        try:
            piece = os.read(self._fd, 4096)
        except OSError:  # what Linux says when the last one has closed the terminal
            return False
        self.shown += piece.decode()
        return bool(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._fd)
