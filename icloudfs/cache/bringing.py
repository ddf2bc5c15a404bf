"""A file of this machine becomes a content: used where it lies, or brought into the cache.

It is brought to the place of a partial content, on the disk of the cache, and renamed to its final place
in the transaction that says so. Whatever ends this half-way leaves a part without a row, which the next
start sweeps away; the person's own file is only ever read, or given one more name.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Literal

import msgspec
import trio

from icloudfs.cache.holding import identity, storage_error
from icloudfs.cache.opening import open_file
from icloudfs.cache.places import Places
from icloudfs.errors import ContentError, DiskFull, IcloudfsError
from icloudfs.tree.directory import File

How = Literal["use", "reflink", "link", "copy"]
"""use: where it lies; reflink: a copy that shares its blocks; link: a second name for the same file."""

_FICLONE = 0x40049409
"""linux/fs.h: _IOW(0x94, 9, int)."""

_CANNOT_SHARE = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EBADF}
)

_AT_ONCE = 8 << 20
"""Bytes a system call copies, so that a cancelled copy ends soon."""


class Arrival(msgspec.Struct, frozen=True):
    """A file that is the content of ``file``, or is taken for it."""

    file: File
    path: bytes
    identity: str
    """When it was hashed, or looked at."""
    sha256: str = ""
    verified: bool = False
    """Whether its content was checked against Apple's checksum."""


class CannotShare(IcloudfsError):
    """The file systems do not allow what was asked for: nothing of it would work."""


def check_that_it_can(how: How, root: Path, places: Places) -> None:
    """Try on something small, before hours of reading. Raises CannotShare, OSError."""
    if how == "link" and root.stat().st_dev != places.directory.stat().st_dev:
        raise _cannot_link(str(root))
    if how == "reflink":
        source, target = places.next_leaving(), places.next_leaving()
        try:
            source.write_bytes(b"\0" * 4096)
            with source.open("rb") as original, target.open("wb") as clone:
                _clone(original.fileno(), clone.fileno(), str(places.directory))
        finally:
            source.unlink(missing_ok=True)
            target.unlink(missing_ok=True)


def bring(arrival: Arrival, target: Path, how: How) -> None:
    """Make ``target``, which does not exist, the arrival's content, synced to the disk.

    Ends early if the caller is cancelled. Raises CannotShare, DiskFull, CacheUnusable, OSError for the
    arrival's own file, and ContentError if that is not what was hashed any more.
    """
    if how == "link":
        _link(arrival, target)
    elif how != "use":
        fd = open_file(arrival.path, os.O_RDONLY)
        try:
            _duplicate(fd, arrival, target, how)
            _check_unchanged(os.fstat(fd), arrival)
        finally:
            os.close(fd)


def _link(arrival: Arrival, target: Path) -> None:
    try:
        os.link(arrival.path, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in _CANNOT_SHARE:
            raise _cannot_link(os.fsdecode(arrival.path)) from error
        raise
    _check_unchanged(target.lstat(), arrival)


def _duplicate(source: int, arrival: Arrival, target: Path, how: How) -> None:
    try:
        clone = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if how == "reflink":
                _clone(source, clone, str(target.parent))
            else:
                _copy(source, clone)
            os.fdatasync(clone)
        finally:
            os.close(clone)
    except OSError as error:
        told = storage_error(error)
        if isinstance(told, DiskFull):
            told = no_room(arrival)
        raise told from error


def no_room(arrival: Arrival) -> DiskFull:
    """The cache, or its disk, cannot take the file."""
    return DiskFull(
        f"There is no room in the cache for {arrival.path.decode('utf-8', 'replace')}"
        f" ({arrival.file.size} bytes).",
        hint="Import without --copy, make room on the disk, or raise the limit of the cache;"
        " what was imported stays, and the next run goes on.",
    )


def _clone(source: int, target: int, where: str) -> None:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _CANNOT_SHARE:
            raise CannotShare(
                f"The file system of {where} cannot share blocks with that of the photos"
                f" ({error.strerror}).",
                hint="Both have to be on one Btrfs, XFS or bcachefs. Use --link or --copy.",
            ) from error
        raise


def _copy(source: int, target: int) -> None:
    while os.sendfile(target, source, None, _AT_ONCE):
        trio.from_thread.check_cancelled()


def _cannot_link(what: str) -> CannotShare:
    return CannotShare(
        f"{what} lies on another file system than the cache, or on one without hard links.",
        hint="Use --copy, or import it where it lies.",
    )


def _check_unchanged(found: os.stat_result, arrival: Arrival) -> None:
    if identity(found) != arrival.identity:
        raise ContentError("it was written to meanwhile")
