"""A folder for one test, the processes started for it, and the proof that nothing of them is left.

Processes are known by a mark in their environment, which daemons inherit too; mounts by lying below the
folder. What others do on the machine at the same time is none of our business.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from icloudfs.mountinfo import mounts

ICLOUDFS = Path(sys.executable).with_name("icloudfs")
"""The installed command."""

_MARK = "ICLOUDFS_TEST"
_PATIENCE = 10.0
"""Seconds for a process to end by itself once it was told to."""
_LONGEST = 120.0
"""Seconds for any one command."""


class Scratch:
    """A folder that every user can reach, and an environment in which nothing of the person's is seen."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="icloudfs-whole-"))
        self.folder.chmod(0o755)
        self._mark = f"{_MARK}={uuid.uuid4()}"
        self.environment = _clean_environment(self.folder)
        name, _, value = self._mark.partition("=")
        self.environment[name] = value

    def run(
        self, *command: str | Path, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end. ``environment`` adds to the usual one."""
        # Names need not be UTF-8.
        defaults: dict[str, Any] = {"stdin": subprocess.DEVNULL, "errors": "surrogateescape"}
        done = subprocess.run(
            [str(word) for word in command],
            env=self.environment | options.pop("environment", {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST,
            **(defaults | options),
        )
        if check:
            assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def start(self, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start a program that the test ends; ``clear`` ends it otherwise."""
        return subprocess.Popen(
            [str(word) for word in command],
            env=self.environment | options.pop("environment", {}),
            text=True,
            **({"stdin": subprocess.DEVNULL} | options),
        )

    def processes(self) -> dict[int, str]:
        """Those started for this test that are still there: pid and command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                pid = int(entry.name)
                if pid != os.getpid() and self._mark.encode() in (entry / "environ").read_bytes():
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    found[pid] = b" ".join(words).decode(errors="replace").strip()
        return found

    def mounts(self) -> list[str]:
        """Mount points below the folder, innermost first."""
        points = [str(mounted.path) for mounted in mounts()]
        return sorted((p for p in points if p.startswith(f"{self.folder}/")), reverse=True)

    def clear(self) -> list[str]:
        """Take everything away; what had been left behind."""
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not self.processes() or self.mounts(), _PATIENCE)
        left = [f"mounted on {point}" for point in self.mounts()]
        left += [f"process {pid}: {command}" for pid, command in self.processes().items()]
        for point in self.mounts():
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
        return left


@contextlib.contextmanager
def scratch_folder() -> Iterator[Scratch]:
    """A Scratch; fails if something was left running or mounted, and takes it away all the same."""
    scratch = Scratch()
    try:
        yield scratch
    finally:
        left = scratch.clear()
    assert not left, "left behind: " + "; ".join(left)


def _clean_environment(home: Path) -> dict[str, str]:
    """Without settings, proxies or a keyring of whoever runs the tests."""
    foreign = ("ICLOUDFS_", "XDG_", "SSL_CERT_")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(foreign) and not name.lower().endswith("_proxy")
    }
    return kept | {
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Look again and again until ``condition`` holds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not happen within {seconds:g} s")
        time.sleep(0.01)
