"""What would write, refused whoever asks, and everything that would wait for a write, done with."""

from __future__ import annotations

import errno
from collections.abc import Callable, Coroutine
from typing import Any, Never

import pyfuse3

from icloudfs.mount.guard import guarded

Refusal = Callable[..., Coroutine[Any, Any, Never]]


def _refuse(*_: Any) -> Never:
    """EROFS, whoever asks and whatever for: nothing in iCloud is ever changed (P8)."""
    raise pyfuse3.FUSEError(errno.EROFS)


def _do_nothing(*_: Any) -> Never:
    """Told ENOSYS once, the kernel answers "done" by itself from then on.

    Without FLUSH, open and close are 1.5 times faster (facts/fuse.md §1.2); and syncing what was only
    read succeeds, as on any read-only disk.
    """
    raise pyfuse3.FUSEError(errno.ENOSYS)


_refused: Refusal = guarded(_refuse)
_nothing_to_do: Refusal = guarded(_do_nothing)


class ReadOnly(pyfuse3.Operations):
    """The handlers that are the same for every read-only filesystem. Those by which changes are replayed are
    not among them: the operations refuse them themselves (replay.py)."""

    symlink = _refused
    link = _refused
    create = _refused
    write = _refused
    setxattr = _refused
    removexattr = _refused

    flush = _nothing_to_do
    fsync = _nothing_to_do
    fsyncdir = _nothing_to_do
