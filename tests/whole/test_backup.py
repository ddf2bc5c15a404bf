"""Backup tools, run twice: the second time there is nothing to do and nothing is read, also after a remount.

Between the two runs the cache is emptied: whatever the second one reads has to come from iCloud, and is counted
there.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

from tests.scratch import wait_until
from tests.whole.library import Library
from tests.whole.local_icloud import LocalICloud

PART = "Albums/Holidays"
"""Small and nested."""


class Tool:
    """Backs up a part of the library into a folder of its own."""

    def __init__(self, library: Library, store: Path | None = None, part: str = PART) -> None:
        self.source = library.mount_point / part
        self._scratch = library.scratch
        self.store = store or library.scratch.folder / type(self).__name__
        self.store.mkdir()
        self.begin()

    def begin(self) -> None:
        """What comes before a first backup."""

    def run(self) -> int:
        """Back up; how many files it took for new or changed."""
        raise NotImplementedError

    def _say(self, *command: str | Path) -> str:
        environment = {
            "RESTIC_PASSWORD": "a",
            "RESTIC_CACHE_DIR": str(self._scratch.folder / "restic"),
            "BORG_BASE_DIR": str(self._scratch.folder / "borg"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }
        done = self._scratch.run(*command, environment=environment)
        return done.stdout + done.stderr

    def reads_again(self) -> int:
        """How many photos it reads each time, whatever is told of them."""
        return 0


class Rsync(Tool):
    options = ("-aH",)

    def run(self) -> int:
        said = self._say("rsync", *self.options, "--itemize-changes", f"{self.source}/", self.store)
        return len(re.findall(r"^(?!cd).", said, re.MULTILINE))


class RsyncWithAttributes(Rsync):
    options = ("-aHX",)


class Tar(Tool):
    def run(self) -> int:
        archive, memory = self.store / "photos.tar", self.store / "memory"
        # The kernel gives the mount another device number each time, as it does for NFS.
        incremental = ("--listed-incremental", memory, "--no-check-device")
        self._say("tar", "-cf", archive, *incremental, "-C", self.source, ".")
        with tarfile.open(archive) as packed:
            return sum(member.isreg() for member in packed)


class Restic(Tool):
    def begin(self) -> None:
        self._say("restic", "--repo", self.store, "init")

    def run(self) -> int:
        said = self._say("restic", "--repo", self.store, "backup", "--json", self.source)
        told = json.loads(said.splitlines()[-1])
        return int(told["files_new"] + told["files_changed"])


class Borg(Tool):
    options = ("--exclude-caches",)

    def begin(self) -> None:
        self._say("borg", "init", "--encryption", "none", self.store)

    def run(self) -> int:
        said = self._say(
            *("borg", "create", "--list", "--filter", "AME", *self.options),
            *(f"{self.store}::{{now:%Y-%m-%dT%H:%M:%S.%f}}", self.source),
        )
        return len(re.findall(r"^[AME] ", said, re.MULTILINE))

    def reads_again(self) -> int:
        """Those with the newest ctime: it never trusts them, as they might change within that second."""
        ctimes = [path.stat().st_ctime for path in self.source.rglob("*") if path.is_file()]
        return ctimes.count(max(ctimes))


TOOLS: tuple[type[Tool], ...] = (RsyncWithAttributes, Rsync, Tar, Restic, Borg)
"""With attributes first: of what is not cached they are others than afterwards, if they tell of the cache."""


def test_the_second_time_nothing_is_read(library: Library, icloud: LocalICloud) -> None:
    library.mount("--no-neighbours")
    photos = {path.stat().st_ino for path in library.files(PART)}
    backups = [tool(library) for tool in TOOLS]

    first = {type(backup).__name__: backup.run() for backup in backups}
    second = changes_found_with_an_empty_cache(library, icloud, backups)
    library.unmount()
    library.mount("--no-neighbours")
    third = changes_found_with_an_empty_cache(library, icloud, backups)

    assert min(first.values()) >= len(photos) > 20
    assert second == third == {type(backup).__name__: backup.reads_again() for backup in backups}


def changes_found_with_an_empty_cache(
    library: Library, icloud: LocalICloud, backups: Sequence[Tool]
) -> dict[str, int]:
    """How many files each finds new or changed. Fails if one reads more than it must."""
    library.icloudfs("cache", "evict", "/")
    wait_until(lambda: not library.cached_files())
    found = {}
    for backup in backups:
        name = type(backup).__name__
        icloud.control.reset_traffic()
        found[name] = backup.run()
        read = {call["checksum"] for call in icloud.calls(kind="content")}
        assert len(read) == backup.reads_again(), name
    return found


def test_borg_archives_photos_although_it_leaves_out_caches(
    mounted: Library, tmp_path: Path
) -> None:
    """A CACHEDIR.TAG in the mount would have it archive nothing (facts/desktop.md §2.3)."""
    assert not (mounted.mount_point / "CACHEDIR.TAG").exists()
    backup = Borg(mounted, tmp_path / "store", "Albums/Holidays/Europe")

    assert backup.run() >= len(list(mounted.files("Albums/Holidays/Europe"))) > 5


def test_hard_links_are_kept(mounted: Library, tmp_path: Path) -> None:
    """A photo of two albums is one file in the copy, too."""
    backup = Rsync(mounted, tmp_path / "store", "Albums")

    backup.run()

    places = list(mounted.files("Albums"))
    copies = [backup.store / path.relative_to(backup.source) for path in places]
    photos = {path.stat().st_ino for path in places}
    assert len({copy.stat().st_ino for copy in copies}) == len(photos) < len(places)


def test_no_file_with_bytes_seems_to_be_a_hole(mounted: Library) -> None:
    """What `tar --sparse` and `cp --sparse` go by."""
    told = [path.stat() for path in mounted.files()]

    assert all(info.st_blocks * 512 >= info.st_size > 0 for info in told)
