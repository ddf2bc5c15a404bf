"""Starting the test's daemon, talking to it, and being sure that nothing of it is left behind."""

from __future__ import annotations

import functools
import json
import os
import pwd
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from icloudfs.mount import mount_table

PROJECT = Path(__file__).parents[2]


class User:
    """Somebody to be: root, or an ordinary user by name."""

    def __init__(self, name: str) -> None:
        entry = pwd.getpwnam(name)
        self.name, self.uid, self.gid = name, entry.pw_uid, entry.pw_gid

    def popen(self, command: list[str], **options: Any) -> subprocess.Popen[str]:
        options.setdefault("extra_groups", [])
        if os.geteuid() != self.uid:
            options |= {"user": self.uid, "group": self.gid}
        else:
            del options["extra_groups"]
        return subprocess.Popen(command, text=True, **options)

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, at most 30 s."""
        pipe = subprocess.PIPE
        with self.popen(list(command), stdout=pipe, stderr=pipe, **options) as process:
            try:
                output, complaints = process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, output, complaints)

    def python(self, program: str, *arguments: str, **options: Any) -> str:
        """Run a little Python program; returns what it prints, fails the test if it fails."""
        done = self.run(interpreter(self.name), "-I", "-S", "-c", program, *arguments, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


ROOT = User("root")
OWNER = User("games")
OTHER = User("nobody")


@functools.cache
def interpreter(user: str) -> str:
    """A Python that ``user`` can start: a virtual environment may lie where only root can look."""
    for candidate in (
        sys.executable,
        f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}",
    ):
        try:
            if User(user).popen([candidate, "-c", ""], stderr=subprocess.DEVNULL).wait() == 0:
                return candidate
        except OSError:
            continue
    pytest.fail(f"no Python {sys.version_info[:2]} that {user} can start")


class Mount:
    """A daemon serving ``path``. Leave the context and it is gone, whatever happened."""

    def __init__(
        self,
        database: Path,
        path: Path,
        *,
        user: User = ROOT,
        expect_ready: bool = True,
        **orders: Any,
    ) -> None:
        self.path = path
        self.user = user
        if not is_mounted(path):  # a dead mount cannot even be looked at
            path.mkdir(exist_ok=True)
            os.chown(path, user.uid, user.gid)
        if user is not ROOT:
            for place in (database.parent, *database.parent.iterdir()):
                os.chown(place, user.uid, user.gid)
        self.log = database.parent / "daemon.log"
        orders |= {"database": str(database), "mount_point": str(path)}
        packages = sysconfig.get_path("purelib")
        with self.log.open("w") as log:
            self.process = user.popen(
                [interpreter(user.name), "-m", "tests.mount.daemon", json.dumps(orders)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=PROJECT,
                env=os.environ
                | {"PYTHONPATH": f"{PROJECT}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"},
            )
        self.first_answer = self._answer()
        if expect_ready and self.first_answer != {"ready": True}:
            self.__exit__(None, None, None)
            pytest.fail(f"not mounted: {self.first_answer} {self.log.read_text()}")

    def tell(self, order: str, **details: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": order, **details}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def asked(self, handler: str) -> int:
        """How often the kernel asked that since the last time anything was asked here."""
        return int(self.tell("asked").get(handler, 0))

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Signal the daemon and wait for its end, at most 10 s; returns its exit code."""
        self.process.send_signal(signum)
        return self.process.wait(10)

    def __enter__(self) -> Mount:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        if is_mounted(self.path):
            subprocess.run(["fusermount3", "-uz", str(self.path)], check=True)


def names(directory: Path) -> list[str]:
    """What a listing shows, in its order, without ``.`` and ``..``."""
    return [entry.name for entry in directory.iterdir()]


def no_state() -> Path:
    """For who unmounts what tells itself who serves it."""
    return Path("/nonexistent")


def is_mounted(path: Path) -> bool:
    return mount_table.mounted_at(path) is not None


def wait_until(condition: Any, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
