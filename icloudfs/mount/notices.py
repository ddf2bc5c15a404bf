"""What the kernel can be told to forget.

To be sent from a thread: the kernel may make the caller wait for a request under way in the same directory,
and takes 27 ms to drop the pages of 200 MiB (facts/fuse.md §1.2). Never from within a handler: it could wait
for itself.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable

import pyfuse3

log = logging.getLogger(__name__)

Notice = Callable[[], None]

_NOT_KNOWN = {errno.ENOENT, errno.ENOTEMPTY, errno.EBUSY, errno.ENOTDIR}
"""The kernel knows no such entry; or it is in use below, and goes when that ends."""


def forget_entry(parent: int, name: bytes, deleted: int = 0) -> Notice:
    """Look the name up anew. Watchers of the file ``deleted`` are told that it is gone."""

    def notice() -> None:
        try:
            pyfuse3.invalidate_entry(parent, name, deleted)
        except OSError as error:
            if not deleted or error.errno not in _NOT_KNOWN:
                raise
            pyfuse3.invalidate_entry(parent, name)  # in use: at least the name must go

    return notice


def forget_inode(ino: int, content: bool) -> Notice:
    """Ask for the attributes anew, and for the bytes too if ``content``."""
    return lambda: pyfuse3.invalidate_inode(ino, attr_only=not content)


def send(notices: Iterable[Notice]) -> None:
    """Send them in this order; one that is not taken does not keep the others back."""
    for notice in notices:
        try:
            notice()
        except OSError as error:
            if error.errno not in _NOT_KNOWN:
                log.warning("the kernel did not take a change: %s", error)
