"""Which file systems answer by themselves, and which have somebody else to ask.

Told from the kernel's table of mounts alone: to ask the file system itself might already wait for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_TABLE = Path("/proc/self/mountinfo")

_PROMPT = frozenset({b"ext2", b"ext3", b"ext4", b"xfs", b"btrfs", b"f2fs", b"bcachefs", b"tmpfs"})
"""Of a disk of this machine, served by the kernel: what is in memory is had without waiting, and whether it is
there can be asked."""

_ALONE = _PROMPT | {
    b"vfat",
    b"exfat",
    b"ntfs3",
    b"fuseblk",
    b"zfs",
    b"udf",
    b"iso9660",
    b"hfsplus",
    b"ramfs",
}
"""What shows a disk of this machine, and nothing that is mounted elsewhere."""

_OCTAL = re.compile(rb"\\([0-7]{3})")


def is_prompt(fd: int) -> bool:
    """Whether what is in memory of the open file can be had without waiting for anybody."""
    info = Path(f"/proc/self/fdinfo/{fd}").read_bytes()
    (mount,) = (line.split()[1] for line in info.split(b"\n") if line.startswith(b"mnt_id:"))
    return any(number == mount and kind in _PROMPT for number, _, kind in _mounts())


def may_show_another(path: bytes) -> bool:
    """Whether what is at the absolute ``path`` may come from another file system, such as our own mount, by
    way of the one that shows it: mergerfs, bindfs, overlayfs, a server of this very machine."""
    holders = [
        (len(place), kind)
        for _, place, kind in _mounts()
        if place == b"/" or path == place or path.startswith(place + b"/")
    ]
    # Of two at one place the later one is on top.
    longest = max((length for length, _ in holders), default=0)
    kinds = [kind for length, kind in holders if length == longest]
    return not kinds or kinds[-1] not in _ALONE


def _mounts() -> Iterator[tuple[bytes, bytes, bytes]]:
    """Number, place and kind of each mount, as proc(5) has them."""
    for line in _TABLE.read_bytes().split(b"\n"):
        here, found, there = line.partition(b" - ")
        if found:
            number, _parent, _device, _root, place, *_ = here.split(b" ")
            yield number, _OCTAL.sub(_unescaped, place), there.split(b" ")[0]


def _unescaped(match: re.Match[bytes]) -> bytes:
    """Blanks, tabs, newlines and backslashes are written as three octal digits."""
    return bytes([int(match[1], 8)])


def is_prompt_at(directory: Path) -> bool:
    """As ``is_prompt``, of files in a directory. Raises OSError."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return is_prompt(fd)
    finally:
        os.close(fd)
