"""Which file systems answer by themselves, and which have somebody else to ask.

Told from the kernel's table of mounts alone: to ask the file system itself might already wait for it.
"""

from __future__ import annotations

import os
from pathlib import Path

from icloudfs.mountinfo import mounts

_PROMPT = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "tmpfs"})
"""Of a disk of this machine, served by the kernel: what is in memory is had without waiting, and whether it is
there can be asked."""

_ALONE = _PROMPT | {
    "vfat",
    "exfat",
    "ntfs3",
    "fuseblk",
    "zfs",
    "udf",
    "iso9660",
    "hfsplus",
    "ramfs",
}
"""What shows a disk of this machine, and nothing that is mounted elsewhere."""


def is_prompt(fd: int) -> bool:
    """Whether what is in memory of the open file can be had without waiting for anybody."""
    info = Path(f"/proc/self/fdinfo/{fd}").read_bytes()
    (number,) = (int(line.split()[1]) for line in info.split(b"\n") if line.startswith(b"mnt_id:"))
    return any(mounted.number == number and mounted.type in _PROMPT for mounted in mounts())


def may_show_another(path: bytes) -> bool:
    """Whether what is at the absolute ``path`` may come from another file system, such as our own mount, by
    way of the one that shows it: mergerfs, bindfs, overlayfs, a server of this very machine."""
    place = Path(os.fsdecode(path))
    holders = [mounted for mounted in mounts() if place.is_relative_to(mounted.path)]
    # Of two at one place the later one is on top.
    longest = max((len(mounted.path.parts) for mounted in holders), default=0)
    kinds = [mounted.type for mounted in holders if len(mounted.path.parts) == longest]
    return not kinds or kinds[-1] not in _ALONE


def is_prompt_at(directory: Path) -> bool:
    """As ``is_prompt``, of files in a directory. Raises OSError."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return is_prompt(fd)
    finally:
        os.close(fd)
