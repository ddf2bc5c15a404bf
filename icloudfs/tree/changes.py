"""What changed in the tree, told to whoever serves it: the kernel must forget exactly this."""

from __future__ import annotations

import msgspec


class EntryAdded(msgspec.Struct, frozen=True):
    """``name`` appeared in directory ``parent``; a negative entry for it is wrong now."""

    parent: int
    name: bytes
    ino: int


class EntryRemoved(msgspec.Struct, frozen=True):
    """``name`` is gone from directory ``parent``."""

    parent: int
    name: bytes
    ino: int


class InodeChanged(msgspec.Struct, frozen=True):
    """Attributes of ``ino`` changed, and its bytes too if ``content``."""

    ino: int
    content: bool = False
    quiet: bool = False
    """It is not the file that changed but what is known of its bytes: a program that watches it must not
    read them again for that, find them wrong again, and so on for ever."""


Change = EntryAdded | EntryRemoved | InodeChanged
