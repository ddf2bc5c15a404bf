"""A disk whose power can be cut: a filesystem in an image file, and copies of it, each taken in an instant.

The image is on XFS, which copies a file by sharing its blocks. What a copy holds is what the disk had been
given by then; what a filesystem still had in memory is lost.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

Kind = Literal["ext4", "btrfs"]

_MAKE = {"ext4": ("mkfs.ext4", "-q", "-F"), "btrfs": ("mkfs.btrfs", "-q", "-f")}
_SIZE = 1 << 30
"""Bytes of the disk; the host has room for its copies, which share nearly everything."""


class Disk:
    """``folder`` is where it is mounted, or one of its copies."""

    def __init__(self, host: Path, folder: Path, kind: Kind) -> None:
        self.folder = folder
        self._host = host
        self._image = host / "disk"
        self._cuts = 0
        with self._image.open("wb") as file:
            file.truncate(_SIZE)
        _run(*_MAKE[kind], self._image)

    @contextmanager
    def mounted(self, image: Path | None = None) -> Iterator[None]:
        """Mounted for as long as that; ``image``: a copy instead."""
        with _mounted(image or self._image, self.folder):
            yield

    def cut(self) -> Path:
        """What would be left if the power went now."""
        self._cuts += 1
        copy = self._host / f"cut {self._cuts}"
        _run("cp", "--reflink=always", self._image, copy)
        return copy


@contextmanager
def shared_blocks(image: Path, folder: Path) -> Iterator[Path]:
    """``folder`` on an XFS of its own in ``image``, where a copy takes no time."""
    with image.open("wb") as file:
        file.truncate(8 * _SIZE)
    _run("mkfs.xfs", "-q", "-f", image)
    with _mounted(image, folder):
        yield folder
    image.unlink()


@contextmanager
def _mounted(image: Path, folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    _run("mount", "-o", "loop", image, folder)
    try:
        yield
    except BaseException:
        _run("umount", "--lazy", folder)  # whoever has a file open there ends with the test
        raise
    _run("umount", folder)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)
