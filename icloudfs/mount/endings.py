"""How a listing ends: with EAGAIN, while the directory may still grow (tree/growth.py).

What is there is told first; the error takes the place of the end. So whatever copies, archives or compares
notices, and a backup with ``--delete`` deletes nothing; what looks up and reads notices nothing. A file manager
shows what is there, and hears of the rest as it comes: to it, the listing ends as any other. It is known by the
name of its process.

What counts is how it was when a listing began: what comes meanwhile may come before the place where it is.
"""

from __future__ import annotations

import itertools
from contextlib import suppress

import msgspec
from pyfuse3 import FileHandleT

from icloudfs.mount import askers
from icloudfs.tree.growth import Growth

_FIRST = 1 << 31
"""Handles of our own lie between those of previews.py and those that are inode numbers of directories."""

_FILE_MANAGERS = frozenset(
    {
        b"nautilus",
        b"nemo",
        b"nemo-desktop",
        b"caja",
        b"thunar",
        b"Thunar",
        b"pcmanfm",
        b"pcmanfm-qt",
        b"spacefm",
        b"gthumb",
        b"gwenview",
        b"dolphin",
        b"konqueror",
        b"krusader",
        b"kioslave5",
        b"kioworker",
        b"plasmashell",
        b"xdg-desktop-por",  # file dialogues of the desktop's portal
    }
)


class _Listing(msgspec.Struct):
    """One that began while the directory could grow."""

    folder: int
    handle: FileHandleT
    """What it is to previews.py."""
    to_a_file_manager: bool
    may_grow: bool = True
    """Whether there can be more than it tells."""


class Endings:
    """Of the listings that are open."""

    def __init__(self, growth: Growth) -> None:
        self._growth = growth
        self._listings: dict[FileHandleT, _Listing] = {}
        self._numbers = itertools.count(_FIRST)

    def open(self, folder: int, handle: FileHandleT, thread: int) -> FileHandleT:
        """The handle of a listing of ``folder`` that begins: ``handle``, but for one that may not be whole."""
        if not self._growth.may_grow(folder):
            return handle
        number = next(self._numbers)
        self._listings[number] = _Listing(folder, handle, _is_file_manager(thread))
        return number

    def beneath(self, handle: FileHandleT) -> FileHandleT:
        """What ``open`` was given."""
        listing = self._listings.get(handle)
        return handle if listing is None else listing.handle

    def begin(self, handle: FileHandleT) -> None:
        """It begins with its first entry, perhaps for another time."""
        listing = self._listings.get(handle)
        if listing is not None:
            listing.may_grow = self._growth.may_grow(listing.folder)

    def are_open(self, handle: FileHandleT) -> bool:
        """Whether a listing that has told what is there must not end as if that were all."""
        listing = self._listings.get(handle)
        return listing is not None and listing.may_grow and not listing.to_a_file_manager

    def close(self, handle: FileHandleT) -> FileHandleT:
        """Forget a listing; what ``open`` was given."""
        listing = self._listings.pop(handle, None)
        return handle if listing is None else listing.handle


def _is_file_manager(thread: int) -> bool:
    with suppress(OSError):
        return askers.process_name(thread) in _FILE_MANAGERS
    return False
