"""The library of one person, mounted, and a watch on its folders."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.filemanagers.album import Album
from tests.filemanagers.person import Person
from tests.scratch import wait_until
from tests.whole.local_icloud import LocalICloud

_LAID = 60.0
"""Seconds for the thumbnails of an album that fits into a window."""


class Photos:
    """``icloudfs`` as a person uses it: the usual places below the home, the folder ``Photos``."""

    def __init__(self, command: Path, icloud: LocalICloud, person: Person) -> None:
        self._command = command
        self.icloud = icloud
        self.person = person
        self.mount_point = person.folder("Photos")
        person.environment |= {
            "ICLOUDFS_ENDPOINT": icloud.url,
            "ICLOUDFS_USERNAME": icloud.account.apple_id,
            "ICLOUDFS_PASSWORD": icloud.account.password,
        }

    def icloudfs(self, *arguments: str | Path) -> str:
        return self.person.run(self._command, *arguments).stdout

    def mount(self) -> None:
        """Everything that the manual tells one to do, once."""
        self.icloudfs("login", "--code", self.icloud.account.code)
        self.icloudfs("sync", "--mirror", "demand")
        self.icloudfs("desktop", "install", self.mount_point)
        # What is done on the phone shall be seen at once.
        self.icloudfs("mount", self.mount_point, "--interval", "2")

    def unmount(self) -> None:
        self.icloudfs("unmount", self.mount_point)

    def lay_thumbnails(self, album: Album) -> None:
        """Look at an album's folder as its owner, and wait until all that comes of it is done."""
        self.person.run("ls", self.folder_of(album))
        wait_until(lambda: not self._folders_waiting(), _LAID)

    def _folders_waiting(self) -> int:
        status = json.loads(self.icloudfs("status", "--json"))
        return int(status["now"]["thumbnails"]["folders_waiting"])

    def folder_of(self, album: Album) -> Path:
        return self.mount_point / "Albums" / album.title


class Watch:
    """inotify on a folder, as a program has it that shows what is in there."""

    def __init__(self, person: Person, folder: Path) -> None:
        events = "create,delete,moved_to,moved_from"
        self._log = person.home / "inotify.log"
        self._process = person.start(
            *("inotifywait", "--monitor", "--event", events, "--format", "%e %f"),
            *("--outfile", self._log, folder),
            stderr=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        while "Watches established" not in (said := self._process.stderr.readline()):
            assert said, "inotifywait ended"

    def events(self) -> list[str]:
        """Kind and name of each."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stderr is not None
        self._process.stderr.close()
