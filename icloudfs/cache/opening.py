"""Opening a file of the cache, or one that is used where it lies, whatever was put in its place meanwhile.

A FIFO has whoever opens it wait for the other end, a device may do anything, and a link leads elsewhere. None
of them is a content, so none is waited for, followed or read.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import Path

from icloudfs import descriptors
from icloudfs.errors import TooManyOpenFiles

_OPENAT2 = 437
_AT_FDCWD = -100
_RESOLVE_CACHED = 0x20
"""openat2(2), from Linux 5.12 on: EAGAIN instead of reading a directory. An older kernel refuses it."""


class _How(ctypes.Structure):
    """struct open_how."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_SIZE = ctypes.sizeof(_How)
# One that keeps the interpreter's lock: it comes back at once, and others would take it meanwhile.
_syscall = ctypes.PyDLL(None).syscall
_syscall.restype = ctypes.c_long

_NEVER_ELSEWHERE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_file(path: Path | bytes, how: int, mode: int = 0o600) -> int:
    """A descriptor of the regular file at ``path``, opened as ``how`` says. Raises OSError, also for a link
    and whatever else is no file; TooManyOpenFiles, which is no OSError, as it says nothing of the file."""
    try:
        fd = os.open(path, how | _NEVER_ELSEWHERE, mode)
    except OSError as error:
        if descriptors.is_lack(error):
            raise TooManyOpenFiles("Too many files are open.") from None
        raise
    if not is_file(os.fstat(fd)):
        os.close(fd)
        raise OSError(errno.EINVAL, "It is not a regular file", os.fsdecode(path))
    return fd


def open_at_once(path: Path) -> int:
    """As ``open_file``, to read, if the kernel knows every step of the way by heart; -1 if not, or if it cannot
    tell. Never waits, if the file system is prompt (filesystems.py)."""
    how = _How(os.O_RDONLY | _NEVER_ELSEWHERE, 0, _RESOLVE_CACHED)
    fd: int = _syscall(_OPENAT2, _AT_FDCWD, os.fsencode(path), ctypes.byref(how), _SIZE)
    if fd >= 0 and not is_file(os.fstat(fd)):
        os.close(fd)
        return -1
    return fd


def is_file(found: os.stat_result) -> bool:
    """Whether it is a regular file: neither a link nor a directory, FIFO, socket or device."""
    return stat.S_ISREG(found.st_mode)


def make_way(path: Path) -> None:
    """Have nothing at ``path``: what is there is of no use to us. A directory is moved aside, since we made
    none there. Raises OSError."""
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        path.rename(path.with_name(f"{path.name}.aside"))


def move(file: Path, to: Path) -> None:
    """Rename ``file``, whatever is there already. Raises OSError."""
    try:
        file.rename(to)
    except IsADirectoryError:
        make_way(to)
        file.rename(to)
