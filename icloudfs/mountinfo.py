"""What is mounted where, as the kernel lists it (proc(5), mountinfo): the one place that reads it.

A mount point is bytes, and anybody can choose them. The kernel writes blanks, tabs, line feeds and backslashes
as three octal digits and everything else as it is, so a line ends at a line feed and a word at a blank, and at
nothing else that text may be parted at: not at U+2028, a form feed or a carriage return.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

TYPE = "fuse.icloudfs"
OWN = Path("/proc/self/mountinfo")


class Mounted(msgspec.Struct, frozen=True):
    """One line of the table."""

    path: Path
    type: str
    source: str
    minor: int
    """Of the device number; also the name of a FUSE connection below /sys/fs/fuse/connections."""
    user: int | None = None
    """Who mounted it, of a FUSE filesystem."""
    number: int = 0
    """By which the kernel tells one mount from another (proc(5): mount ID)."""

    @property
    def ours(self) -> bool:
        return self.type == TYPE


def mounts(table: Path = OWN) -> Iterator[Mounted]:
    """Every mount of the process that ``table`` is of; a later one may lie above an earlier one."""
    for line in table.read_bytes().split(b"\n"):
        words = line.split(b" ")
        if b"-" in words[6:]:
            yield _mounted(words)


def _mounted(words: list[bytes]) -> Mounted:
    """Of ``ID PARENT MAJOR:MINOR ROOT PATH OPTIONS [TAG…] - TYPE SOURCE OPTIONS``."""
    kind, source, options, *_ = [*words[words.index(b"-", 6) + 1 :], b"", b"", b""]
    user = re.search(rb"(?:^|,)user_id=([0-9]+)", options)
    return Mounted(
        path=Path(_text(words[4])),
        type=_text(kind),
        source=_text(source),
        minor=int(words[2].partition(b":")[2]),
        user=None if user is None else int(user[1]),
        number=int(words[0]),
    )


def _text(escaped: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), escaped))
