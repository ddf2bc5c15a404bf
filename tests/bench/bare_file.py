"""The floor for cached reads: the least that pyfuse3 can do with a file of the local disk.

``python -m tests.bench.bare_file FILE MOUNT_POINT`` serves that one file, under its own name, with stock
pyfuse3, long timeouts, pages that the kernel may keep, and nothing else.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pyfuse3
from pyfuse3 import ROOT_INODE, EntryAttributes, FileInfo, FUSEError

from tests.bench.bare import TIMEOUT, serve

_INO = ROOT_INODE + 1


class BareFile(pyfuse3.Operations):
    """A folder with one file in it. Its reads are answered inline."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._name = os.fsencode(file.name)
        self._fd = os.open(file, os.O_RDONLY)
        self._size = os.fstat(self._fd).st_size

    async def getattr(self, inode: int, ctx: Any) -> EntryAttributes:
        entry = EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = stat.S_IFDIR | 0o555 if inode == ROOT_INODE else stat.S_IFREG | 0o444
        entry.st_size = 0 if inode == ROOT_INODE else self._size
        entry.entry_timeout = entry.attr_timeout = TIMEOUT
        return entry

    async def lookup(self, parent_inode: int, name: bytes, ctx: Any) -> EntryAttributes:
        if name != self._name:
            raise FUSEError(errno.ENOENT)
        return await self.getattr(_INO, ctx)

    async def open(self, inode: int, flags: int, ctx: Any) -> FileInfo:
        return FileInfo(fh=inode, keep_cache=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return os.pread(self._fd, size, off)


if __name__ == "__main__":
    _, file, mount_point = sys.argv
    serve(BareFile(Path(file)), mount_point)
