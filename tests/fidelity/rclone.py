"""rclone, unmodified: signed in through the TLS door, listing, copying and mounting the same library.

It is told where Apple is by the environment alone, and remembers nothing but what is in its own home.
``--low-level-retries 1`` spares the waiting: it repeats each request that iCloud refuses with 400, and
a shared library refuses to list albums every time (facts/cloudkit.md §1.7).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tests.scratch import Scratch, wait_until
from tests.whole.local_icloud import LocalICloud

REMOTE = "photos"


@dataclass(frozen=True)
class Listed:
    """One file, as ``rclone lsf`` prints it."""

    path: PurePosixPath
    """Below the remote: zone, album or folder, name."""
    size: int
    mtime: int
    """Whole seconds since the epoch."""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def directory(self) -> str:
        return str(self.path.parent)


@dataclass(frozen=True)
class Question:
    """Where ``rclone config`` stands: what it asks next; empty when it is done."""

    state: str
    option: str


class Rclone:
    """One installation, with a home of its own."""

    def __init__(
        self,
        program: Path,
        icloud: LocalICloud,
        scratch: Scratch,
        doors: Mapping[str, str],
        name: str = "rclone",
    ) -> None:
        self._program = program
        self._icloud = icloud
        self._scratch = scratch
        self.home = scratch.folder / name
        self.home.mkdir()
        self._environment = {
            **doors,
            "HOME": str(self.home),
            "RCLONE_CONFIG": str(self.home / "rclone.conf"),
            "RCLONE_LOW_LEVEL_RETRIES": "1",
        }

    def run(self, *arguments: str | Path, check: bool = True, **options: Any) -> tuple[str, str]:
        """Run a command; what it printed and what it complained about."""
        options["environment"] = self._environment
        done = self._scratch.run(self._program, *arguments, check=check, **options)
        return done.stdout, done.stderr

    # -- signing in ------------------------------------------------------------------------------

    def sign_in(self) -> None:
        """With the code, as its documentation says."""
        question = self.give_password(self._icloud.account.password)
        assert question.option == "config_2fa", question
        answered = self.answer(question, self._icloud.account.code)
        assert answered == Question("", ""), answered

    def give_password(self, password: str) -> Question:
        """Make the remote. Raises AssertionError with what rclone said if it could not sign in."""
        account = f"apple_id={self._icloud.account.apple_id}"
        settings = ("service=photos", account, f"password={password}")
        made = ("config", "create", REMOTE, "iclouddrive", *settings)
        return _question(self.run(*made, "--obscure", "--non-interactive")[0])

    def answer(self, question: Question, text: str) -> Question:
        """Go on where ``question`` was asked. Raises AssertionError with what rclone said."""
        going_on = ("--non-interactive", "--continue", "--state", question.state, "--result", text)
        return _question(self.run("config", "update", REMOTE, *going_on)[0])

    def setting(self, name: str) -> str:
        """A line of its configuration; '' if there is none."""
        settings = json.loads(self.run("config", "dump")[0])
        return str(settings[REMOTE].get(name, ""))

    def reconnect(self, code: str) -> None:
        """``rclone config reconnect``, typing the code."""
        typed = self.home / "typed"
        typed.write_text(f"{code}\n")
        with typed.open() as keyboard:
            self.run("config", "reconnect", f"{REMOTE}:", stdin=keyboard)

    def forget(self) -> None:
        """Throw its cache away, as its documentation says; not its session."""
        shutil.rmtree(self.home / ".cache")

    # -- looking ---------------------------------------------------------------------------------

    def files(self, below: str = "") -> list[Listed]:
        """``rclone lsf -R``: every file, by path."""
        return sorted(
            (
                Listed(PurePosixPath(below, path), int(size), int(seconds))
                for path, size, seconds in self._lines(below, "--files-only")
            ),
            key=lambda listed: listed.path,
        )

    def directories(self, below: str = "") -> set[str]:
        """``rclone lsf -R --dirs-only``."""
        return {str(PurePosixPath(below, path)) for path, *_ in self._lines(below, "--dirs-only")}

    def _lines(self, below: str, only: str) -> Iterator[list[str]]:
        form = ("--format", "pst", "--separator", "\t", "--time-format", "unix")
        printed, _ = self.run("lsf", "-R", only, *form, f"{REMOTE}:{below}")
        return (line.split("\t") for line in printed.splitlines())

    # -- reading ---------------------------------------------------------------------------------

    def copy_to(self, folder: Path) -> str:
        """``rclone sync`` of everything: only what is new or changed is downloaded. Its complaints."""
        hurry = ("--fast-list", "--transfers", "8", "--retries", "1")
        return self.run("sync", f"{REMOTE}:", folder, *hurry, check=False)[1]

    def copy_one(self, listed: Listed, to: Path) -> None:
        """``rclone copyto``, for a file whose name no local disk takes."""
        self.run("copyto", f"{REMOTE}:{listed.path}", to)

    @contextlib.contextmanager
    def mounted(self, *options: str) -> Iterator[Path]:
        """``rclone mount --read-only``, unmounted by ending the process."""
        point = self.home / "mounted"
        point.mkdir()
        command = ("mount", f"{REMOTE}:", str(point), "--read-only", *options)
        process = self._scratch.start(self._program, *command, environment=self._environment)
        try:
            wait_until(lambda: str(point) in self._scratch.mounts(), 30.0)
            yield point
        finally:
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(30) in (0, 143), process.returncode
        assert str(point) not in self._scratch.mounts()
        point.rmdir()


def _question(printed: str) -> Question:
    asked = json.loads(printed[printed.index("{") :])
    option = asked["Option"] or {}
    return Question(asked["State"], option.get("Name", ""))
