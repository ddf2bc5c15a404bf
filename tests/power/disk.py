"""A disk whose power seems to be cut: copies of its image file, each taken in an instant.

The image is on XFS, which copies a file by sharing its blocks. What a copy holds is what the disk had been
given by then; what a filesystem still had in memory is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.image_disk import GIB, ImageDisk, Kind, mounted, run


class Disk:
    """``folder`` is where it is mounted, or one of its copies. The host has room for the copies."""

    def __init__(self, host: Path, folder: Path, kind: Kind) -> None:
        self.folder = folder
        self._host = host
        self._image = host / "disk"
        self._cuts = 0
        ImageDisk(self._image, folder, kind)

    @contextmanager
    def mounted(self, image: Path | None = None) -> Iterator[None]:
        """Mounted for as long as that; ``image``: a copy instead."""
        with mounted(image or self._image, self.folder):
            yield

    def cut(self) -> Path:
        """What would be left if the power went now."""
        self._cuts += 1
        copy = self._host / f"cut {self._cuts}"
        run("cp", "--reflink=always", self._image, copy)
        return copy


@contextmanager
def shared_blocks(image: Path, folder: Path) -> Iterator[Path]:
    """``folder`` on an XFS of its own in ``image``, where a copy takes no time."""
    ImageDisk(image, folder, "xfs", 8 * GIB)
    with mounted(image, folder):
        yield folder
    image.unlink()
