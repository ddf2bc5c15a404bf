"""One account on this machine: signed in, listed, mounted. The commands are the installed ones."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from icloudfs.tree.layout import View
from tests.scratch import ICLOUDFS, Scratch, wait_until
from tests.whole.local_icloud import LocalICloud

INTERVAL = 1.0
"""Seconds between two looks at iCloud, of a mount that follows closely."""

MAY_2020 = 1_589_000_000_000
"""2020-05-09, in ms."""

ALL_VIEWS: tuple[str, ...] = tuple(view.value for view in View)

_STATES = "user.icloudfs.state"
_CHECKSUM = "user.icloudfs.checksum"
_ASSET = "user.icloudfs.asset"


class Library:
    """Commands, folder, state and cache of one account."""

    def __init__(self, icloud: LocalICloud, scratch: Scratch, name: str = "home") -> None:
        self.icloud = icloud
        self.scratch = scratch
        home = scratch.folder / name
        home.mkdir(exist_ok=True)
        self.mount_point = home / "photos"
        self.mount_point.mkdir(exist_ok=True)
        self.state = home / "state"
        self.cache = home / "cache"
        self.log = home / "daemon.log"
        self.environment = {
            "ICLOUDFS_ENDPOINT": icloud.url,
            "ICLOUDFS_USERNAME": icloud.account.apple_id,
            "ICLOUDFS_COOKIE_DIRECTORY": str(self.state),
            "ICLOUDFS_CACHE_DIR": str(self.cache),
            "ICLOUDFS_PASSWORD": icloud.account.password,
            # Small pictures of folders that are looked at would be among the calls that tests count.
            "ICLOUDFS_THUMBNAILS": "false",
        }

    # -- commands --------------------------------------------------------------------------------

    def icloudfs(
        self, *arguments: str | Path, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run ``icloudfs``; ``environment`` adds to that of this account."""
        environment = self.environment | options.pop("environment", {})
        return self.scratch.run(
            ICLOUDFS, *arguments, check=check, environment=environment, **options
        )

    def login(self) -> None:
        self.icloudfs("login", "--code", self.icloud.account.code)

    def sync(self) -> None:
        self.icloudfs("sync", "--mirror", "demand")

    def take_state_of(self, other: Library) -> None:
        """Be where another library was: signed in and listed, with nothing cached."""
        shutil.copytree(other.state, self.state)

    def mount(self, *options: str, views: Sequence[str] = (), **process: Any) -> None:
        """In the background; the folder can be used when this returns."""
        chosen = [word for view in views for word in ("--views", view)]
        words: tuple[str | Path, ...] = ("--log-file", self.log, *chosen, *options)
        self.icloudfs("mount", self.mount_point, *words, **process)

    def serve(self, *options: str, **process: Any) -> subprocess.Popen[str]:
        """In the foreground; returns when the folder can be used."""
        environment = self.environment | process.pop("environment", {})
        command: tuple[str | Path, ...] = (
            "mount",
            self.mount_point,
            "--foreground",
            "--log-file",
            self.log,
            *options,
        )
        started = self.scratch.start(ICLOUDFS, *command, environment=environment, **process)
        while not self.is_mounted:
            assert started.poll() is None, self.log.read_text()
        return started

    def unmount(self) -> None:
        self.icloudfs("unmount", self.mount_point)

    def end(self) -> None:
        """Unmount if it is mounted and its daemon lives."""
        if self.is_mounted:
            self.unmount()

    def status(self, *options: str) -> Any:
        return json.loads(self.icloudfs("status", "--json", *options).stdout)

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """The state database, to be looked into."""
        (path,) = self.state.glob("*.db")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            yield connection

    # -- the daemon ------------------------------------------------------------------------------

    @property
    def is_mounted(self) -> bool:
        return str(self.mount_point) in self.scratch.mounts()

    @property
    def daemon(self) -> int:
        """Its process."""
        told: dict[str, Any] = json.loads((self.mount_point / ".icloudfs").read_bytes())
        return int(told["pid"])

    def kill(self, daemon: int | None = None) -> None:
        """``kill -9``, and wait until it is gone. ``daemon``: its process, if the folder cannot tell.

        One that was killed while it waited for itself goes when the folder is unmounted.
        """
        daemon = daemon or self.daemon
        descriptor = os.pidfd_open(daemon)
        os.kill(daemon, signal.SIGKILL)
        if not select.select([descriptor], [], [], 5.0)[0]:
            self.unmount()
        os.close(descriptor)

    # -- the folder ------------------------------------------------------------------------------

    def views(self) -> list[str]:
        """The directories at the top."""
        return sorted(path.name for path in self.mount_point.iterdir())

    def files(self, below: str = "") -> Iterator[Path]:
        """Every file in the folder, in every place."""
        for folder, _, names in os.walk(self.mount_point / below):
            yield from (Path(folder, name) for name in sorted(names))

    def places(self, checksum: str) -> list[Path]:
        """Where a content appears."""
        return [path for path in self.files() if checksum_of(path) == checksum]

    def files_of(self, asset: str, below: str = "") -> list[Path]:
        """Where the files of one photo appear."""
        return [path for path in self.files(below) if asset_of(path) == asset]

    def until_shown(self, asset: str, seconds: float = 15.0) -> list[Path]:
        """Wait until a photo is in the folder; where it appears."""
        wait_until(lambda: self.files_of(asset), seconds)
        return self.files_of(asset)

    def until_gone(self, asset: str, seconds: float = 15.0) -> None:
        wait_until(lambda: not self.files_of(asset), seconds)

    def uncached(self, pattern: str = ".", at_least: int = 0, below: str = "Library") -> Path:
        """A file that nobody has read yet, whose name matches."""
        return next(
            path
            for path in self.files(below)
            if re.search(pattern, path.name)
            and path.stat().st_size >= at_least
            and _xattr(path, _STATES) == "remote"
        )

    def truth(self, path: Path) -> bytes:
        """What iCloud holds of the file at ``path``."""
        return self.icloud.content(checksum_of(path))

    def cached_files(self) -> list[Path]:
        """Everything on disk that holds bytes of photos."""
        account = self.cache / self.icloud.account.apple_id
        return [
            file
            for folder in ("content", "partial", "leaving")
            for file in (account / folder).rglob("*")
            if file.is_file()
        ]


@contextmanager
def own_library(scratch: Scratch, *, assets: int) -> Iterator[Library]:
    """Of an iCloud of its own, which may be changed; signed in and listed, with nothing downloaded."""
    icloud = LocalICloud(scratch, assets=assets)
    library = Library(icloud, scratch)
    library.login()
    library.sync()
    yield library
    library.end()
    icloud.stop()


def checksum_of(path: Path) -> str:
    return _xattr(path, _CHECKSUM)


def asset_of(path: Path) -> str:
    """The photo that a file is of."""
    return _xattr(path, _ASSET)


def _xattr(path: Path, name: str) -> str:
    """Empty for a file that goes away just then."""
    try:
        return os.getxattr(path, name).decode()
    except FileNotFoundError:
        return ""
