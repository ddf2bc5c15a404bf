"""Telling the kernel what to forget.

The kernel keeps names and attributes for days and pages for as long as it likes; each change of the tree is
pushed here, and is visible at once. From a thread, because the kernel may make the caller wait: for a
request under way in the same directory, and 27 ms to drop the pages of 200 MiB (facts/fuse.md §1.2). Never
from within a handler: it could wait for itself.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

import apsw
import pyfuse3
import trio

from icloudfs.mount import session_loop
from icloudfs.tree.changes import Change, EntryAdded, EntryRemoved, InodeChanged
from icloudfs.tree.directory import ROOT, Directory
from icloudfs.tree.numbers import is_directory

log = logging.getLogger(__name__)

Notice = Callable[[], None]

_NOT_KNOWN = {errno.ENOENT, errno.ENOTEMPTY, errno.EBUSY, errno.ENOTDIR}
"""The kernel knows no such entry; or it is in use below, and goes when that ends."""

_BATCH = 256
"""Changes prepared at a time: about a millisecond on the event loop."""

_INC_EPOCH = 8  # FUSE_NOTIFY_INC_EPOCH, protocol 7.44
_OUT_HEADER = struct.Struct("=IiQ")  # length, notification, no request


class Kernel:
    """Notices to the kernel about one mount. Use it while the session is served."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def apply(self, changes: Sequence[Change]) -> None:
        """Make the kernel forget what ``changes`` made wrong. They are in the database already.

        On return every process sees the new state.
        """
        for start in range(0, len(changes), _BATCH):
            # What is still there is asked on the event loop, whose connection this is.
            notices = list(self._notices(changes[start : start + _BATCH]))
            await trio.to_thread.run_sync(_send, notices)

    def _notices(self, changes: Iterable[Change]) -> Iterator[Notice]:
        # Attributes are told once each, after the entries: a removal sets the number of links to zero
        # until it is asked for again.
        stale: dict[int, bool] = {}
        for change in changes:
            match change:
                case EntryAdded(parent, name, ino):
                    yield _forget_entry(parent, name)
                    _mark(stale, parent, ino)
                case EntryRemoved(parent, name, ino):
                    # Watchers of a file that has other places must not hear that it was deleted.
                    # A directory that is told to be deleted stays dead for as long as anybody has it open,
                    # also when it comes back under its number: the kernel would show it empty.
                    gone = not is_directory(ino) and self._directory.getattr(ino) is None
                    yield _forget_entry(parent, name, ino if gone else 0)
                    _mark(stale, parent, ino)
                case InodeChanged(ino, content):
                    stale[ino] = stale.get(ino, False) or content
        for ino, content in stale.items():
            yield _forget_inode(ino, content)

    async def refresh(self, connection: apsw.Connection) -> None:
        """Make the kernel ask for every name anew; pages stay, as sizes and times tell if they are good.

        ``connection`` is read in a thread and must be nobody else's. Before protocol 7.44 (Linux 6.16) names
        that are gone from the tree need their EntryRemoved; all others are dropped one by one, 2.6 µs each.
        """
        await trio.to_thread.run_sync(_refresh, connection)


def _mark(stale: dict[int, bool], *inos: int) -> None:
    for ino in inos:
        stale.setdefault(ino, False)


def _forget_entry(parent: int, name: bytes, deleted: int = 0) -> Notice:
    def notice() -> None:
        try:
            pyfuse3.invalidate_entry(parent, name, deleted)
        except OSError as error:
            if not deleted or error.errno not in _NOT_KNOWN:
                raise
            pyfuse3.invalidate_entry(parent, name)  # in use: at least the name must go

    return notice


def _forget_inode(ino: int, content: bool) -> Notice:
    return lambda: pyfuse3.invalidate_inode(ino, attr_only=not content)


def _send(notices: Iterable[Notice]) -> None:
    for notice in notices:
        try:
            notice()
        except OSError as error:
            if error.errno not in _NOT_KNOWN:
                log.warning("the kernel did not take a change: %s", error)


def _refresh(connection: apsw.Connection) -> None:
    if not _drop_all_entries():
        _send(
            _forget_entry(parent, name)
            for parent, name in connection.execute("SELECT parent, name FROM dirent")
        )
    _send(_forget_inode(ino, False) for (ino,) in connection.execute("SELECT ino FROM inode"))
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
