"""The yardstick for listings: the least that pyfuse3 can do over SQLite (facts/fuse.md §2.1, §3).

``python -m tests.bench.bare_sqlite DATABASE MOUNT_POINT`` serves the inode and dirent tables of a state
database with stock pyfuse3, long timeouts, and nothing else: no names of its own, no permissions, no
content.
"""

from __future__ import annotations

import errno
import sys
from typing import Any

import apsw
import pyfuse3
from pyfuse3 import EntryAttributes, FUSEError

from tests.bench.bare import TIMEOUT, serve

_PAGE = 256
_COLUMNS = "i.ino, i.mode, i.size, i.mtime, i.ctime, i.nlink"


class BareSQLite(pyfuse3.Operations):
    """Look-ups and directory pages, one query each."""

    def __init__(self, database: str) -> None:
        super().__init__()
        self._connection = apsw.Connection(database, flags=apsw.SQLITE_OPEN_READONLY)
        self._connection.pragma("cache_size", -8 * 1024)

    async def getattr(self, inode: int, ctx: Any) -> EntryAttributes:
        return self._one("WHERE i.ino = ?", (inode,))

    async def lookup(self, parent_inode: int, name: bytes, ctx: Any) -> EntryAttributes:
        return self._one(
            "WHERE i.ino = (SELECT ino FROM dirent WHERE parent = ? AND name = ?)",
            (parent_inode, name),
        )

    def _one(self, where: str, values: tuple[Any, ...]) -> EntryAttributes:
        row = self._connection.execute(f"SELECT {_COLUMNS} FROM inode i {where}", values).fetchone()
        if row is None:
            raise FUSEError(errno.ENOENT)
        return _attributes(row)

    async def opendir(self, inode: int, ctx: Any) -> int:
        return inode

    async def readdir(self, fh: int, start_id: int, token: Any) -> None:
        rows = self._connection.execute(
            f"SELECT d.name, {_COLUMNS} FROM dirent d JOIN inode i USING (ino)"
            " WHERE d.parent = ? AND d.ino > ? ORDER BY d.ino LIMIT ?",
            (fh, start_id, _PAGE),
        )
        for name, *inode in rows:
            if not pyfuse3.readdir_reply(token, name, _attributes(inode), inode[0]):
                break


def _attributes(row: Any) -> EntryAttributes:
    entry = EntryAttributes()
    entry.st_ino, entry.st_mode, entry.st_size, mtime, ctime, entry.st_nlink = row
    entry.st_mtime_ns = entry.st_atime_ns = mtime * 10**9
    entry.st_ctime_ns = ctime * 10**9
    entry.st_blocks = (entry.st_size + 511) // 512
    entry.entry_timeout = entry.attr_timeout = TIMEOUT
    return entry


if __name__ == "__main__":
    _, database, mount_point = sys.argv
    serve(BareSQLite(database), mount_point)
