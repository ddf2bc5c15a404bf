"""Who takes part in a race: icloudfs and ``rclone mount``, behind one protocol.

Both are signed in when they arrive, both come through the TLS door of the same simulator, both have a
folder of their own for state and cache, and both are used as their own documentation recommends.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Protocol

from tests.bench.racecourse import Racecourse
from tests.bench.stand import PATIENCE, Stand, wait_for

_CLIENTS = "ICLOUDFS_CLIENTS"
"""The virtual environment that ``scripts/bench --race`` installs rclone into."""

_A_LISTING = 1800.0
"""Seconds that a first listing may take: 200,000 photos are listed in turn, page by page."""


class Contender(Protocol):
    """One program that can mount an iCloud Photos library."""

    name: str
    mount_point: Path

    def forget(self) -> None:
        """Back to the day of installation, but signed in. It must not be running."""

    def list_everything(self) -> None:
        """Its own command for it, until it says that the list is complete."""

    def start(self, poll: float | None = None, *, ahead: bool = True) -> None:
        """Mount; it answers when this returns. ``poll``: seconds between two looks at iCloud; not ``ahead``:
        nothing is fetched before somebody asks for it."""

    def wait_until_listed(self) -> None:
        """Of a mount: until its tree is complete, as far as it can be complete before it is asked."""

    def stop(self) -> None:
        """Unmount, and wait until the process is gone. It need not be running."""

    @property
    def daemon(self) -> int:
        """The process number of whoever serves the mount."""

    @property
    def whole_library(self) -> Path:
        """The folder that has every photo in it, or below it."""

    def album(self, title: str) -> Path:
        """The folder of an album at the top."""


class Icloudfs:
    """This tree's own, with the defaults that a person gets."""

    name = "icloudfs"

    def __init__(self, course: Racecourse, home: Path) -> None:
        self._stand = Stand(course.url, home)
        # Not the simulator's plain door: TLS costs, and rclone has to pay it too.
        del self._stand.environment["ICLOUDFS_ENDPOINT"]
        self._stand.environment |= course.door
        self._running = False
        self.mount_point = home / "mount"
        self.mount_point.mkdir(parents=True)
        self._stand.icloudfs("login")

    @property
    def environment(self) -> dict[str, str]:
        """With it any program of this tree means this account."""
        return self._stand.environment

    @property
    def daemon(self) -> int:
        return self._stand.daemon

    @property
    def database(self) -> Path:
        return self._stand.database

    @property
    def whole_library(self) -> Path:
        return self.mount_point / "Library"

    def album(self, title: str) -> Path:
        return self.mount_point / "Albums" / title

    def forget(self) -> None:
        # The session lies beside the database and stays.
        for file in self._stand.database.parent.glob(f"{self._stand.database.name}*"):
            file.unlink()
        shutil.rmtree(self._stand.home / "cache", ignore_errors=True)

    def list_everything(self) -> None:
        self._stand.icloudfs("sync", "--mirror", "demand")

    def start(self, poll: float | None = None, *, ahead: bool = True) -> None:
        options = ["--log-file", str(self._stand.home / "daemon.log")]
        if poll:
            options += ["--interval", str(poll)]
        if not ahead:
            options += ["--no-neighbours"]
        self._running = True
        self._stand.icloudfs("mount", str(self.mount_point), *options)

    def wait_until_listed(self) -> None:
        wait_for(lambda: self._is_listed() or None, "a complete listing", 0.05, _A_LISTING)

    def _is_listed(self) -> bool:
        """Asked of the database, as ``icloudfs status`` would spend more of a core than the listing."""
        source = f"file:{self._stand.database}?mode=ro"
        with closing(sqlite3.connect(source, uri=True, timeout=PATIENCE)) as connection:
            (zones, listed) = connection.execute(
                "SELECT count(*), sum(listed) FROM zone"
            ).fetchone()
            (ended,) = connection.execute(
                "SELECT count(*) FROM sync_runs WHERE completed_at IS NOT NULL AND error IS NULL"
            ).fetchone()
        return bool(zones and zones == listed and ended)

    def stop(self) -> None:
        if self._running:
            self._stand.icloudfs("unmount", str(self.mount_point))
            self._running = False


class Rclone:
    """The version that tests/fidelity/requirements.txt pins, mounted as its documentation says."""

    name = "rclone"

    # https://rclone.org/iclouddrive/#fuse-mounts, "the following flags are recommended", all of them:
    _RECOMMENDED = (
        "--vfs-refresh",  # lists everything in the background from the start
        "--dir-cache-time=1h",  # instead of 5 minutes: changes are noticed by polling
        "--vfs-cache-mode=full",  # what was read stays on the disk
        "--attr-timeout=1m",  # instead of 1 s: the kernel asks less often
        "--read-only",
    )

    def __init__(self, course: Racecourse, home: Path) -> None:
        self.mount_point = home / "mount"
        self.mount_point.mkdir(parents=True)
        self._home = home
        self._cache = home / "cache"
        self._environment = os.environ | course.door
        self._process: subprocess.Popen[bytes] | None = None
        self._write_config()
        # The first call signs in, and keeps the session in the config file.
        self._run("lsd", "photos:")

    @property
    def daemon(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def _personal(self) -> Path:
        return self.mount_point / "PrimarySync"

    @property
    def whole_library(self) -> Path:
        return self._personal / "All Photos"

    def album(self, title: str) -> Path:
        return self._personal / title

    def forget(self) -> None:
        # The lists of the albums and the contents; the session is in the config file.
        shutil.rmtree(self._cache, ignore_errors=True)

    def list_everything(self) -> None:
        self._run("lsf", "-R", "--files-only", "photos:")

    def start(self, poll: float | None = None, *, ahead: bool = True) -> None:
        # In the foreground, as a child that can be waited for: what --daemon adds is a parent that waits
        # until the mount answers, as the next lines do.
        interval = (f"--poll-interval={poll:g}s",) if poll else ()
        log = f"--log-file={self._home / 'rclone.log'}"
        self._process = subprocess.Popen(
            self._command(
                "mount", "photos:", str(self.mount_point), *self._RECOMMENDED, *interval, log
            ),
            env=self._environment,
        )
        wait_for(lambda: self.mount_point.is_mount() or None, "rclone's mount")

    def wait_until_listed(self) -> None:
        """Nothing to wait for: whoever lists a directory waits until it is complete."""

    def stop(self) -> None:
        if self._process is None:
            return
        if self.mount_point.is_mount():
            subprocess.run(["fusermount3", "-uz", str(self.mount_point)], check=True)
        else:
            self._process.terminate()
        self._process.wait(PATIENCE)
        self._process = None

    def version(self) -> str:
        return self._run("version").split()[1]

    def _write_config(self) -> None:
        account = Stand("", self._home).account
        obscured = subprocess.run(
            [_rclone(), "obscure", account.password], capture_output=True, text=True, check=True
        ).stdout.strip()
        self._config.write_text(
            "[photos]\ntype = iclouddrive\nservice = photos\n"
            f"apple_id = {account.apple_id}\npassword = {obscured}\ntrust_token = anything\n"
        )

    @property
    def _config(self) -> Path:
        return self._home / "rclone.conf"

    def _run(self, *arguments: str) -> str:
        return subprocess.run(
            self._command(*arguments),
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=_A_LISTING,
        ).stdout

    def _command(self, *arguments: str) -> list[str]:
        own = [f"--config={self._config}", f"--cache-dir={self._cache}"]
        return [str(_rclone()), *arguments, *own]


def _rclone() -> Path:
    clients = os.environ.get(_CLIENTS, "")
    program = Path(clients).absolute() / "bin" / "rclone"
    if not clients or not program.is_file():
        raise SystemExit(f"{_CLIENTS} names no directory with bin/rclone: use scripts/bench --race")
    return program


def free_memory() -> None:
    """Contents of files that the kernel keeps; no name is forgotten.

    A virtual machine is slow to get memory that it has never had before: a download of 400 MB took three times
    as long. Whoever fills the page cache is to get what was used already. Raises PermissionError if we are not
    root.
    """
    Path("/proc/sys/vm/drop_caches").write_text("1")


def drop_kernel_caches(*, pages: bool) -> None:
    """Names and attributes, of every file system; with ``pages`` the contents of files, too.

    Raises PermissionError if we are not root.
    """
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3" if pages else "2")
    time.sleep(0.1)
