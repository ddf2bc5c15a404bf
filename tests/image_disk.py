"""A filesystem in an image file, which root may mount. Its power can be cut."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.scratch import wait_until

Kind = Literal["ext4", "btrfs", "xfs"]

GIB = 1 << 30

_MAKE = {
    "ext4": ("/sbin/mkfs.ext4", "-q", "-F"),
    "btrfs": ("/sbin/mkfs.btrfs", "-q", "-f"),
    "xfs": ("/sbin/mkfs.xfs", "-q", "-f"),
}

# FS_IOC_SHUTDOWN and its EXT4_GOING_FLAGS_NOLOGFLUSH, of the kernel's headers: nothing reaches the disk any
# more, the journal in memory neither. XFS has the same under another name.
_SHUTDOWN = 0x8004587D
_WITHOUT_THE_JOURNAL = struct.pack("I", 2)

_UNUSED_AFTER = 20.0
"""Seconds until processes that were killed have let go of their files."""


class ImageDisk:
    """``image`` is made and holds an empty filesystem, which can be mounted on ``folder``."""

    def __init__(self, image: Path, folder: Path, kind: Kind, size: int = GIB) -> None:
        self.folder = folder
        self._image = image
        with image.open("wb") as file:
            file.truncate(size)
        run(*_MAKE[kind], image)

    def mount(self) -> None:
        mount(self._image, self.folder)

    def unmount(self) -> None:
        """For everybody: a process with mounts of its own may have it for a while longer."""
        wait_until(self._unmounted, _UNUSED_AFTER)
        wait_until(self._released, _UNUSED_AFTER)

    def _unmounted(self) -> bool:
        return not subprocess.run(
            ["umount", self.folder], check=False, capture_output=True
        ).returncode

    def _released(self) -> bool:
        command = ("losetup", "--associated", self._image)
        return not subprocess.run(command, check=True, capture_output=True).stdout

    def cut(self) -> None:
        """The power goes: every call fails from now on.

        What was not synced is lost when it is unmounted.
        """
        disk = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(disk, _SHUTDOWN, _WITHOUT_THE_JOURNAL)
        finally:
            os.close(disk)


def mount(image: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    run("mount", "-o", "loop", image, folder)


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[None]:
    """For as long as that."""
    mount(image, folder)
    try:
        yield
    except BaseException:
        run("umount", "--lazy", folder)  # whoever has a file open there ends with the test
        raise
    run("umount", folder)


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)
