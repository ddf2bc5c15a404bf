"""Which file systems answer by themselves, and which have somebody else to ask.

Told from the kernel's table of mounts alone: to ask the file system itself might already wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from icloudfs.mountinfo import Mounted, mounts

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

_FROM_MEMORY = frozenset({"fuse.rclone", "fuse.s3fs", "fuse.curlftpfs"})
"""Those that tell by a list that they made before whether there is a name; davfs2, too, whose type is none."""


def is_prompt(fd: int) -> bool:
    """Whether what is in memory of the open file can be had without waiting for anybody."""
    info = Path(f"/proc/self/fdinfo/{fd}").read_bytes()
    (number,) = (int(line.split()[1]) for line in info.split(b"\n") if line.startswith(b"mnt_id:"))
    return any(mounted.number == number and mounted.type in _PROMPT for mounted in mounts())


def may_show_another(paths: Iterable[bytes]) -> set[bytes]:
    """Those of the absolute ``paths`` at which what is there may come from another file system, such as our own
    mount, by way of the one that shows it: mergerfs, bindfs, overlayfs, a server of this very machine."""
    table = list(mounts())
    return {path for path in paths if not _shows_itself(_holder(path, table))}


def answer_from_memory(paths: Iterable[bytes]) -> set[bytes]:
    """Those of the absolute ``paths`` at which what shows them need not ask whom it shows for a name: one that
    is called into it (echo.py) may then be heard by nobody."""
    table = list(mounts())
    return {path for path in paths if _knows_names(_holder(path, table))}


def _shows_itself(holder: Mounted | None) -> bool:
    return holder is not None and holder.type in _ALONE


def _knows_names(holder: Mounted | None) -> bool:
    return holder is not None and (
        holder.type in _FROM_MEMORY or (holder.type == "fuse" and "://" in holder.source)
    )


def _holder(path: bytes, table: Sequence[Mounted]) -> Mounted | None:
    """What is mounted there."""
    place = Path(os.fsdecode(path))
    found = None
    for mounted in table:
        # Of two at one place the later one is on top.
        if place.is_relative_to(mounted.path) and (
            found is None or len(mounted.path.parts) >= len(found.path.parts)
        ):
            found = mounted
    return found


def is_prompt_at(directory: Path) -> bool:
    """As ``is_prompt``, of files in a directory. Raises OSError."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return is_prompt(fd)
    finally:
        os.close(fd)
