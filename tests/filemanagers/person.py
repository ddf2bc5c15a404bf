"""A throw-away user: what the file managers are run by, since nobody runs them as root."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.scratch import Scratch, wait_until

_PATIENCE = 5.0
"""Seconds for the user's processes to end by themselves once they were told to."""


class Person:
    """An ordinary user of this machine, with a home."""

    def __init__(self, scratch: Scratch, name: str, home: Path) -> None:
        entry = pwd.getpwnam(name)
        self.scratch = scratch
        self.name, self.uid, self.gid = name, entry.pw_uid, entry.pw_gid
        self.home = home
        self.environment: dict[str, str] = {}
        self.move_to(home)

    def move_to(self, home: Path) -> None:
        """Live in another, empty home from now on: nothing that was remembered is there."""
        self.home = home
        home.mkdir(mode=0o700)
        os.chown(home, self.uid, self.gid)
        run_time = self.folder("run")
        run_time.chmod(0o700)
        self.environment = {
            "HOME": str(home),
            "USER": self.name,
            "LOGNAME": self.name,
            "XDG_RUNTIME_DIR": str(run_time),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
        }

    def folder(self, name: str) -> Path:
        """A folder in the home."""
        folder = self.home
        for part in Path(name).parts:
            folder /= part
            if not folder.exists():
                folder.mkdir()
                os.chown(folder, self.uid, self.gid)
        return folder

    def write(self, name: str, text: str) -> None:
        """A file in the home."""
        path = self.folder(str(Path(name).parent)) / Path(name).name
        path.write_text(text)
        os.chown(path, self.uid, self.gid)

    def run(self, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, as this user."""
        return self.scratch.run(*command, **self._as_me(options))

    def start(self, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start a program as this user. What it says is in ``<program>.log`` in the home."""
        said = self.home / f"{Path(command[0]).name}.log"
        with said.open("a") as log:
            return self.scratch.start(
                *command, **self._as_me({"stdout": log, "stderr": log} | options)
            )

    def _as_me(self, options: dict[str, Any]) -> dict[str, Any]:
        return options | {
            "environment": self.environment | options.pop("environment", {}),
            "user": self.uid,
            "group": self.gid,
            "extra_groups": [],
            "cwd": self.home,
        }

    def processes(self) -> list[int]:
        """Everything that runs as this user."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if entry.stat().st_uid == self.uid and _lives(entry):
                    found.append(int(entry.name))
        return found

    def processes_of(self, program: str) -> list[int]:
        """Those whose program's name begins so."""
        return [pid for pid in self.processes() if _name(pid).startswith(program)]

    def end_processes(self) -> None:
        """Whatever a session leaves behind: buses, thumbnailers, settings daemons."""
        self.end_processes_of("")

    def end_processes_of(self, program: str) -> None:
        """End those whose program's name begins so."""
        for signum in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.processes_of(program):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signum)
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: not self.processes_of(program), _PATIENCE)


def _name(process: int) -> str:
    """Of its program; nothing if it is gone."""
    try:
        return Path(f"/proc/{process}/comm").read_text()
    except OSError:
        return ""


def _lives(process: Path) -> bool:
    """Whether it is more than a zombie that waits for its parent."""
    return (process / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


@contextmanager
def throw_away_person(scratch: Scratch) -> Iterator[Person]:
    """A new user of this machine; gone afterwards with every process of theirs."""
    name = f"icloudfs-{os.getpid()}"
    home = scratch.folder / "nobody-home"
    subprocess.run(
        ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", home, name],
        check=True,
    )
    try:
        person = Person(scratch, name, home)
        yield person
        person.end_processes()
    finally:
        subprocess.run(["userdel", name], check=True)


@contextmanager
def fuse_for_everybody() -> Iterator[None]:
    """``/dev/fuse`` as udev makes it, where there is no udev: any user may mount."""
    device = Path("/dev/fuse")
    before = device.stat().st_mode & 0o7777
    device.chmod(0o666)
    try:
        yield
    finally:
        device.chmod(before)
