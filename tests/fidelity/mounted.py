"""What icloudfs shows: every file of its mount, as a program that walks it sees them.

Names, sizes and times are those of ``readdir`` and ``stat``. Which photo a file belongs to is told by its
extended attributes, and which of the photo's renditions it is by the simulator: nothing here asks the
code of icloudfs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.whole.library import Library

ORIGINAL = "original"
ALTERNATE = "alternate"
LIVE = "live"
EDITED = "edited"
EDITED_VIDEO = "edited-video"
EDITED_LIVE = "edited-live"
"""Renditions, as the simulator's manifest calls them."""


@dataclass(frozen=True)
class Shown:
    """One file at one place. A photo in three places is three of them, with one inode."""

    path: PurePosixPath
    """Below the mount point."""
    asset: str
    """Record name of the CPLAsset."""
    master: str
    zone: str
    original_name: str
    """As iCloud has it; '' if it has none."""
    rendition: str
    checksum: str
    size: int
    mtime: int
    """Whole seconds since the epoch."""
    inode: int

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def directory(self) -> str:
        """Its directory below the mount point, e.g. ``Albums/Holidays/Japan``."""
        return str(self.path.parent)

    @property
    def view(self) -> str:
        """The directory at the top that it is in, e.g. ``Albums``."""
        return self.path.parts[0]


class Mounted:
    """The mount of a library, file by file."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.root = library.mount_point

    def files(self, below: str = "") -> list[Shown]:
        """Every file at or below a directory, by path; at this moment."""
        renditions = self._renditions()
        return [self._shown(path, renditions) for path in sorted(self.library.files(below))]

    def directories(self, below: str = "") -> set[str]:
        """Every directory at or below a directory, as a path below the mount point."""
        return {
            str(Path(folder).relative_to(self.root))
            for folder, _, _ in os.walk(self.root / below)
            if Path(folder) != self.root
        }

    def read(self, shown: Shown) -> bytes:
        """All bytes of a file."""
        return (self.root / shown.path).read_bytes()

    def _renditions(self) -> dict[tuple[str, str], str]:
        """What the simulator calls the content of a photo, by asset and checksum."""
        return {
            (entry["asset"], one["checksum"]): one["rendition"]
            for entry in self.library.icloud.manifest()
            for one in entry["renditions"]
        }

    def _shown(self, path: Path, renditions: dict[tuple[str, str], str]) -> Shown:
        status = path.stat()
        asset, checksum = _attribute(path, "asset"), _attribute(path, "checksum")
        return Shown(
            path=PurePosixPath(path.relative_to(self.root)),
            asset=asset,
            master=_attribute(path, "master"),
            zone=_attribute(path, "library"),
            original_name=_attribute(path, "original_name"),
            rendition=renditions[asset, checksum],
            checksum=checksum,
            size=status.st_size,
            mtime=int(status.st_mtime),
            inode=status.st_ino,
        )


def _attribute(path: Path, name: str) -> str:
    """'' for one without a value."""
    try:
        return os.getxattr(path, f"user.icloudfs.{name}").decode()
    except OSError:
        return ""
