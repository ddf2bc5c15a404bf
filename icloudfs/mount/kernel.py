"""Making the kernel, and whoever watches, see what changed.

The kernel keeps names and attributes for days and pages for as long as it likes; each change of the tree is
pushed here, and is visible at once. Where somebody may be watching it is replayed, so that it is also heard
of (live.py); everything else, and what could not be replayed, the kernel is told to forget (notices.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
from collections.abc import Iterable, Iterator, Sequence, Set

import apsw
import pyfuse3
import trio

from icloudfs.mount import notices, session_loop
from icloudfs.mount.live import Live
from icloudfs.mount.notices import Notice, forget_entry, forget_inode
from icloudfs.tree.changes import Change, EntryAdded, EntryRemoved, InodeChanged
from icloudfs.tree.directory import ROOT, Directory
from icloudfs.tree.numbers import is_directory

log = logging.getLogger(__name__)

_BATCH = 256
"""Changes prepared at a time: about a millisecond on the event loop."""

_INC_EPOCH = 8  # FUSE_NOTIFY_INC_EPOCH, protocol 7.44
_OUT_HEADER = struct.Struct("=IiQ")  # length, notification, no request


class Kernel:
    """The kernel's view of one mount. Use it while the session is served."""

    def __init__(self, directory: Directory, live: Live) -> None:
        self._directory = directory
        self._live = live

    async def apply(self, changes: Sequence[Change]) -> None:
        """Make the kernel forget what ``changes`` made wrong. They are in the database already.

        On return every process sees the new state, and watchers have heard of it.
        """
        settled = await self._live.replay_entries(changes)
        for start in range(0, len(changes), _BATCH):
            # What is still there is asked on the event loop, whose connection this is.
            batch = list(self._notices(changes[start : start + _BATCH], settled))
            await trio.to_thread.run_sync(notices.send, batch)
        # Whoever hears of it reads the file again: the old attributes and pages must have gone.
        await self._live.replay_attributes(changes)

    async def forget(self, changes: Sequence[Change]) -> None:
        """The same without the database, should it not answer: every process sees the new state, but watchers
        may miss what was renamed or removed."""
        await trio.to_thread.run_sync(notices.send, list(_plain_notices(changes)))

    def _notices(self, changes: Iterable[Change], settled: Set[Change]) -> Iterator[Notice]:
        # Attributes are told once each, after the entries: a removal sets the number of links to zero
        # until it is asked for again.
        stale: dict[int, bool] = {}
        for change in changes:
            match change:
                case EntryAdded(parent, name, ino):
                    if change not in settled:
                        yield forget_entry(parent, name)
                    _mark(stale, parent, ino)
                case EntryRemoved(parent, name, ino):
                    if change not in settled:
                        # Watchers of a file that has other places must not hear that it was deleted.
                        # A directory that is told to be deleted stays dead for as long as anybody has
                        # it open, also when it comes back under its number: the kernel would show it
                        # empty (replay.py has an answer to that, which here would come too late).
                        gone = not is_directory(ino) and self._directory.getattr(ino) is None
                        yield forget_entry(parent, name, ino if gone else 0)
                    _mark(stale, parent, ino)
                case InodeChanged(ino, content):
                    stale[ino] = stale.get(ino, False) or content
        for ino, content in stale.items():
            yield forget_inode(ino, content)

    async def refresh(self, connection: apsw.Connection) -> None:
        """Make the kernel ask for every name anew; pages stay, as sizes and times tell if they are good.

        ``connection`` is read in a thread and must be nobody else's. Before protocol 7.44 (Linux 6.16) names
        that are gone from the tree need their EntryRemoved; all others are dropped one by one, 2.6 µs each.
        """
        await trio.to_thread.run_sync(_refresh, connection)


def _plain_notices(changes: Iterable[Change]) -> Iterator[Notice]:
    stale: dict[int, bool] = {}
    for change in changes:
        match change:
            case EntryAdded(parent, name) | EntryRemoved(parent, name):
                yield forget_entry(parent, name)
                _mark(stale, parent)
            case InodeChanged(ino, content):
                stale[ino] = stale.get(ino, False) or content
    for ino, content in stale.items():
        yield forget_inode(ino, content)


def _mark(stale: dict[int, bool], *inos: int) -> None:
    for ino in inos:
        stale.setdefault(ino, False)


def _refresh(connection: apsw.Connection) -> None:
    if not _drop_all_entries():
        notices.send(
            forget_entry(parent, name)
            for parent, name in connection.execute("SELECT parent, name FROM dirent")
        )
    notices.send(forget_inode(ino, False) for (ino,) in connection.execute("SELECT ino FROM inode"))
    with contextlib.suppress(OSError):
        pyfuse3.invalidate_inode(ROOT, attr_only=True)


def _drop_all_entries() -> bool:
    """One notice that makes every entry stale (17 µs); False if this kernel does not know it."""
    notice = _OUT_HEADER.pack(_OUT_HEADER.size, _INC_EPOCH, 0)
    try:
        os.write(session_loop.device_descriptor(), notice)
    except OSError:
        return False
    return True
