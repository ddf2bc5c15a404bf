"""A disk that fails: SQLite's own calls, those of our programs, and single statements. For tests alone.

SQLite lets its calls of the system be replaced (``xSetSystemCall``), also below a WAL, which a VFS of APSW
cannot have. What Python calls is replaced in ``os``. Both only for files below one directory.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

SIZE, OFFSET = ctypes.c_size_t, ctypes.c_longlong
_SHAPES: dict[str, tuple[Any, ...]] = {
    "pread64": (ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, SIZE, OFFSET),
    "pwrite64": (ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, SIZE, OFFSET),
    "ftruncate": (ctypes.c_int, ctypes.c_int, OFFSET),
}
"""What of SQLite's calls can fail: result and arguments."""

OURS = ("fdatasync", "pwrite", "preadv", "pread", "ftruncate", "rename")
"""What of Python's can."""


class FailingDisk:
    """``breaks`` makes calls fail until ``heals``: all of them, or the one whose turn it is."""

    def __init__(self, directory: Path) -> None:
        self._directory = os.path.realpath(directory)
        self._broken: dict[str, int] = {}
        self._turn: int | None = None
        self.failed = 0
        """Calls that failed since it broke."""
        self.seen = 0
        """Calls of the broken kinds."""

    def breaks(self, *calls: str, number: int = errno.EIO, turn: int | None = None) -> None:
        """``turn``: only that one of the calls fails, counted from 0."""
        self._broken = dict.fromkeys(calls, number)
        self._turn, self.failed, self.seen = turn, 0, 0

    def heals(self) -> None:
        self._broken = {}

    def error_of(self, call: str, file: int | str | os.PathLike[str]) -> int:
        """The number of the error of a call, or 0."""
        number = self._broken.get(call, 0)
        if not number or not self._path(file).startswith(self._directory):
            return 0
        self.seen += 1
        if self._turn is not None and self.seen != self._turn + 1:
            return 0
        self.failed += 1
        return number

    def _path(self, file: int | str | os.PathLike[str]) -> str:
        return str(
            Path(f"/proc/self/fd/{file}").readlink() if isinstance(file, int) else Path(file)
        )


@contextmanager
def failing_disk(directory: Path, patch: pytest.MonkeyPatch) -> Iterator[FailingDisk]:
    """The disk below ``directory``, sound at first."""
    disk = FailingDisk(directory)
    for name in OURS:
        patch.setattr(os, name, _of_ours(disk, name, getattr(os, name)))
    system = apsw.VFS("", base="unix")
    replaced = {name: system.xGetSystemCall(name) for name in _SHAPES}
    kept = []  # for as long as SQLite may call them
    for name, shape in _SHAPES.items():
        kind = ctypes.CFUNCTYPE(*shape, use_errno=True)
        kept.append(kind(_of_sqlite(disk, name, kind(replaced[name] or 0))))
        system.xSetSystemCall(name, ctypes.cast(kept[-1], ctypes.c_void_p).value or 0)
    try:
        yield disk
    finally:
        for name, pointer in replaced.items():
            system.xSetSystemCall(name, pointer or 0)
        system.unregister()


def _of_sqlite(disk: FailingDisk, name: str, call: Callable[..., int]) -> Callable[..., int]:
    def perhaps(fd: int, *arguments: Any) -> int:
        number = disk.error_of(name, fd)
        if number:
            ctypes.set_errno(number)
            return -1
        return call(fd, *arguments)

    return perhaps


def _of_ours(disk: FailingDisk, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def perhaps(file: Any, *arguments: Any, **options: Any) -> Any:
        number = disk.error_of(name, file) if not isinstance(file, int) or file >= 0 else 0
        if number:
            raise OSError(number, os.strerror(number))
        return call(file, *arguments, **options)

    return perhaps


class Statements:
    """Every statement that any connection of this process runs; those that are ``broken`` fail."""

    def __init__(self) -> None:
        self.seen: dict[str, None] = {}
        self.broken = ""
        self.failed = 0

    def trace(self, _: object, statement: str, __: object) -> bool:
        self.seen.setdefault(statement)
        if statement == self.broken:
            self.failed += 1
            raise apsw.IOError("as ordered")
        return True


@contextmanager
def watched_statements() -> Iterator[Statements]:
    """From here on, of connections that are opened from here on."""
    statements = Statements()

    def watch(connection: apsw.Connection) -> None:
        connection.exec_trace = statements.trace

    apsw.connection_hooks.append(watch)
    try:
        yield statements
    finally:
        apsw.connection_hooks.remove(watch)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what another task brings about."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - nobody tells when that is so
            await trio.sleep(0.005)
