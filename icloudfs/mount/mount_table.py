"""What is mounted where, as the kernel tells it, without touching a mount that may be dead or stuck."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

TYPE = "fuse.icloudfs"
_TABLE = Path("/proc/self/mountinfo")


class Mounted(msgspec.Struct, frozen=True):
    """One line of the table."""

    path: Path
    type: str
    source: str
    minor: int
    """Of the device number; also the name of a FUSE connection below /sys/fs/fuse/connections."""

    @property
    def ours(self) -> bool:
        return self.type == TYPE


def mounted_at(path: Path) -> Mounted | None:
    """The topmost mount whose root is ``path`` (absolute), if there is one."""
    found = None
    for mounted in _mounts():
        if mounted.path == path:
            found = mounted  # a later line lies above an earlier one
    return found


def mounted_above(path: Path) -> Mounted | None:
    """The mount that holds ``path`` (absolute), not counting one at ``path`` itself."""
    holders = [mounted for mounted in _mounts() if mounted.path in path.parents]
    return max(holders, key=lambda mounted: len(mounted.path.parts), default=None)


def all_of_ours() -> list[Mounted]:
    """Every icloudfs mount, dead ones among them."""
    return [mounted for mounted in _mounts() if mounted.ours]


def absolute(path: Path) -> Path:
    """``path`` with its directory's links resolved, but never looked at itself: it may hang."""
    spelled = Path.cwd() / path
    if spelled.name in ("", ".", ".."):
        return spelled.resolve()
    return spelled.parent.resolve() / spelled.name


def _mounts() -> Iterator[Mounted]:
    for line in _TABLE.read_text(errors="surrogateescape").splitlines():
        here, _, there = line.partition(" - ")
        _id, _parent, device, _root, path, *_ = here.split()
        kind, source, *_ = there.split()
        _major, _, minor = device.partition(":")
        yield Mounted(Path(_unescape(path)), kind, _unescape(source), int(minor))


def _unescape(text: str) -> str:
    """Blanks, tabs, newlines and backslashes are written as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
