"""What this disk holds of one content, while somebody has it open or fetches it.

Invariants

* ``present`` names bytes that were written to the open file. What the database calls present was synced
  to the disk before (``record``), so a crash can lose ranges but never invent one.
* ``verified`` means that every byte is here and was checked, as far as it can be; ``whole`` that the file
  is also synced, and where its row in the database says. Only ``lose`` and ``discard`` take that back.
* ``lock`` is held by whoever moves the file or writes its row, so the row never lags behind the file.
* The file stays open until the last user is gone (cache.py), also when it was unlinked meanwhile: a read
  in a thread can never meet somebody else's file under its number.
* Nothing is ever written to a file that has another name too: it is a hard link, and the other name is
  its owner's photo.
* ``generation`` changes when bytes are thrown away. A read that waited for a thread compares it.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import apsw
import trio

from icloudfs.cache.opening import make_way, move, open_file
from icloudfs.cache.places import Places
from icloudfs.cache.ranges import RangeSet
from icloudfs.cache.verify import Digests, RunningDigest, digest, judge
from icloudfs.errors import CacheUnusable, DiskFull
from icloudfs.state import contents
from icloudfs.state.contents import Content
from icloudfs.state.database import Database
from icloudfs.tree.directory import File

_Change = Callable[[apsw.Connection], None]

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


_WORTH_A_THREAD = 512 << 10
_HASHED_AT_ONCE = 4 << 20
"""Bytes; who brings the last byte waits for a piece at most."""


class _Proof(NamedTuple):
    """What a check came to."""

    found: Digests
    by_checksum: bool
    """False if only the size could be checked."""


class Holding:
    """One content on this disk: nothing, a part, or the whole."""

    def __init__(self, places: Places, database: Database, file: File) -> None:
        self.checksum = file.checksum
        self.size = file.size
        self.present = RangeSet()
        self.whole = file.size == 0
        self.generation = 0
        self.lock = trio.Lock()
        self.identity = ""
        """Of a file that its owner may write to: 'size:mtime_ns:inode' when it was hashed."""
        self._is_elsewhere = False
        self._places = places
        self._database = database
        self._fd = -1
        self._stale: list[int] = []
        self._made = False
        self._making = threading.Lock()
        self._proof: _Proof | None = None
        self._digest = RunningDigest()
        self._hashing = threading.Lock()
        self._can_ask_not_to_wait = True
        self._recorded: list[tuple[int, int]] | None = []
        """What the row says; None if it says something that is not so."""

    # -- opening ---------------------------------------------------------------------------------

    def take_up(self, row: Content | None) -> None:
        """Open what the database says is here. One open(2) and an fstat, nothing that waits.

        Where row and disk disagree the disk is right; ``record`` puts the row right later.
        """
        if self.whole:
            return
        if row is not None and row.status == "downloaded":
            self._take_up_whole(row)
        elif row is None or not row.path:
            self._adopt()
        elif row.status == "partial":
            self._take_up_partial(row)

    def _take_up_whole(self, row: Content) -> None:
        self._recorded = None
        with suppress(OSError):
            self._fd = open_file(self._places.absolute(row.path), os.O_RDONLY)
        if self._fd < 0:
            return
        found = os.fstat(self._fd)
        is_ours_alone = not row.imported and not row.identity
        if found.st_size == self.size and (is_ours_alone or identity(found) == row.identity):
            self.identity = row.identity
            self._is_elsewhere = row.imported
            self.whole = True
        else:
            self._close_file()

    def _take_up_partial(self, row: Content) -> None:
        self._recorded = None
        if row.size != self.size:
            return
        try:
            self._fd = _open_to_write(self._places.absolute(row.path))
        except OSError:
            self._adopt()
            return
        there = os.fstat(self._fd).st_size
        for start, stop in row.ranges:
            self.present.add(start, min(stop, there))
        if list(self.present) == row.ranges:
            self._recorded = row.ranges

    def _adopt(self) -> None:
        """A whole file that no row speaks of: the process ended between the rename and the commit, or
        the database is a new one. It goes back to ``partial`` and is verified like any other."""
        content = self._places.absolute(self._places.content_path(self.checksum))
        partial = self._places.absolute(self.partial_path)
        with suppress(OSError):
            content.rename(partial)
            self._fd = _open_to_write(partial)
            if os.fstat(self._fd).st_size == self.size:
                self.present.add(0, self.size)

    @property
    def partial_path(self) -> str:
        """Where the file lies until it is whole, relative to the cache directory."""
        return self._places.partial_path(self.checksum)

    @property
    def row_is_wrong(self) -> bool:
        """Whether ``record`` has something to put right."""
        return not self.whole and self._recorded != list(self.present)

    @property
    def counted(self) -> int:
        """Bytes that count against the limit of the cache."""
        if self._is_elsewhere:
            return 0
        return self.size if self.whole else self.present.total

    # -- reading ---------------------------------------------------------------------------------

    @property
    def verified(self) -> bool:
        """Whether every byte is here and may be shown."""
        return self.whole or self._proof is not None

    def read_now(self, start: int, stop: int, buffer: memoryview) -> bytes | None:
        """Bytes that are here, if the kernel has them in memory; None if a thread has to wait.

        ``buffer`` is only borrowed: reading into it and copying out is cheaper than a new one each
        time (facts/fuse.md §2.2).
        """
        if not self._can_ask_not_to_wait:
            return None
        want = stop - start
        if want > len(buffer):
            return None
        try:
            read = os.preadv(self._fd, [buffer[:want]], start, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
                self._can_ask_not_to_wait = False
                return None
            raise
        # Short: the page at the end of it is not in memory. The caller never asks beyond the end.
        return bytes(buffer[:want]) if read == want else None

    async def read(self, start: int, stop: int) -> bytes:
        """Bytes that are here, from a thread. Shorter if the file was truncated under us."""
        return await trio.to_thread.run_sync(_pread, self._fd, start, stop)

    def is_still_itself(self) -> bool:
        """Whether a file that its owner may write to is what was hashed; True for everything else."""
        return not self.identity or identity(os.fstat(self._fd)) == self.identity

    # -- filling ---------------------------------------------------------------------------------

    async def write(self, start: int, blocks: Sequence[bytes]) -> int:
        """Put ``blocks`` at ``start``; how many bytes that added. Raises DiskFull, CacheUnusable."""
        try:
            await trio.to_thread.run_sync(self._write, start, blocks)
        except OSError as error:
            raise storage_error(error) from error
        return self.present.add(start, start + sum(map(len, blocks)))

    def _write(self, start: int, blocks: Sequence[bytes]) -> None:
        with self._making:  # two pulls may bring the first bytes, each in a thread
            if self._fd < 0:
                self._fd = _open_new(self._places.absolute(self.partial_path))
                self._made = True
        if os.fstat(self._fd).st_size != self.size:
            os.ftruncate(self._fd, self.size)
        for block in blocks:
            rest = memoryview(block)
            while rest:
                written = os.pwrite(self._fd, rest, start)
                rest = rest[written:]
                start += written

    async def hash_on(self) -> bool:
        """Hash a piece more of what is here without a gap, while the rest is on its way; whether there
        was one. A disk that fails is for ``verify`` to tell of."""
        begun = self._digest
        stop = min(self.present.reaches(begun.reached), begun.reached + _HASHED_AT_ONCE)
        if stop - begun.reached < _WORTH_A_THREAD:
            return False
        try:
            return await trio.to_thread.run_sync(self._hash, self._fd, begun, stop)
        except OSError:
            return False

    def _hash(self, fd: int, begun: RunningDigest, stop: int) -> bool:
        before = begun.reached
        with self._hashing:
            while begun.advance(fd, stop):
                pass
        return begun.reached > before

    async def record(self) -> None:
        """Make the row say what is here: the bytes first, then the ranges. Raises OSError, apsw.Error."""
        async with self.lock:
            if not self.row_is_wrong:
                return
            ranges = list(self.present)
            if ranges:
                await trio.to_thread.run_sync(os.fdatasync, self._fd)
                await self._database.write(self._save_ranges(ranges))
            else:
                await self._database.write(self._forget)
            self._recorded = ranges

    def _save_ranges(self, ranges: list[tuple[int, int]]) -> _Change:
        path = self.partial_path
        now = int(time.time())
        return lambda connection: contents.save_ranges(
            connection, self.checksum, self.size, path, ranges, now
        )

    def _forget(self, connection: apsw.Connection) -> None:
        contents.forget(connection, self.checksum)

    # -- the end ---------------------------------------------------------------------------------

    async def verify(self) -> None:
        """Every byte is present: check them. What this finds good may be read at once.

        Raises ContentMismatch; the bytes are still there then, ``discard`` is the caller's. Raises
        DiskFull, CacheUnusable if the disk fails.
        """
        async with self.lock:
            if self._proof is None:
                try:
                    found = await trio.to_thread.run_sync(self._finish, self._digest)
                except OSError as error:
                    raise storage_error(error) from error
                self._proof = _Proof(found, judge(self.checksum, self.size, found))

    def _finish(self, begun: RunningDigest) -> Digests:
        with self._hashing:
            return digest(self._fd, begun=begun)

    async def keep(self) -> None:
        """Make the verified file the content, for good, unless it is. Raises DiskFull, CacheUnusable."""
        async with self.lock:
            if self.whole:
                return
            assert self._proof is not None
            try:
                # On the disk before the row says so: a power cut must not leave zeros with our word on.
                await trio.to_thread.run_sync(os.fdatasync, self._fd)
                await self._publish(self._proof.found, self._proof.by_checksum)
            except OSError as error:
                raise storage_error(error) from error
            self.whole = True

    async def _publish(self, found: Digests, verified: bool) -> None:
        path = self._places.content_path(self.checksum)
        partial = self._places.absolute(self.partial_path)
        content = self._places.absolute(path)

        def publish(connection: apsw.Connection) -> None:
            contents.set_downloaded(
                connection,
                self.checksum,
                self.size,
                path,
                sha256=found.sha256,
                verified=verified,
                now=time.time_ns() // 1_000_000,
            )
            content.parent.mkdir(mode=0o700, exist_ok=True)
            # Last before the commit. If the process ends between the two, ``_adopt`` finds the file.
            move(partial, content)

        await self._database.write(publish)

    async def discard(self, reason: str | None) -> None:
        """Throw away what is here; with a ``reason``, the content counts as failed."""
        async with self.lock:
            self._throw_away()
            if self._fd >= 0:
                await trio.to_thread.run_sync(os.ftruncate, self._fd, 0)
            await self._database.write(self._failed(reason) if reason else self._forget)
            self._recorded = []

    def _failed(self, reason: str) -> _Change:
        return lambda connection: contents.set_failed(connection, self.checksum, self.size, reason)

    def lose(self) -> None:
        """The file behind a whole content is gone or changed: it is to be fetched again.

        The number of the old file is not closed while somebody may be reading from it; nothing is
        written to it either, because ``_write`` makes a new one.
        """
        self.whole = False
        self.identity = ""
        self._is_elsewhere = False
        self.let_go()

    def let_go(self) -> None:
        """What is here is not wanted any more; its file is the caller's to remove."""
        self._throw_away()
        self._recorded = None
        if self._fd >= 0:
            self._stale.append(self._fd)
        self._fd = -1

    def is_open_at(self, wanted: str) -> bool:
        """Whether the file with that identity is the one that is open."""
        return self._fd >= 0 and identity(os.fstat(self._fd)) == wanted

    def _throw_away(self) -> None:
        self.present.clear()
        self._proof = None
        self._digest = RunningDigest()
        self.generation += 1

    def close(self) -> None:
        """Close the file; nobody reads or writes it any more. An empty partial file is removed."""
        self._close_file()
        for fd in self._stale:
            os.close(fd)
        self._stale.clear()
        if not self.whole and not self.present and self._made:
            with suppress(OSError):
                self._places.absolute(self.partial_path).unlink()

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def identity(found: os.stat_result) -> str:
    """What tells a file from the same file after somebody wrote to it."""
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ino}"


def _open_to_write(path: Path) -> int:
    """A part that is here. Raises OSError; a hard link counts as not there, and goes."""
    fd = open_file(path, os.O_RDWR)
    if os.fstat(fd).st_nlink > 1:
        os.close(fd)
        path.unlink()
        raise FileNotFoundError(errno.ENOENT, "It was a link to somebody's photo", str(path))
    return fd


def _open_new(path: Path) -> int:
    """A file that nobody else has; what lay there before was of no use to anybody."""
    how = os.O_RDWR | os.O_CREAT | os.O_EXCL
    try:
        return open_file(path, how)
    except FileExistsError:
        make_way(path)
        return open_file(path, how)


def _pread(fd: int, start: int, stop: int) -> bytes:
    parts = []
    while start < stop and (part := os.pread(fd, stop - start, start)):
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def storage_error(error: OSError) -> DiskFull | CacheUnusable:
    """An error of writing to the cache directory, in words."""
    if error.errno in _NO_ROOM:
        return DiskFull("There is no room for it in the cache directory.")
    return CacheUnusable(f"The cache directory cannot be written: {error.strerror}.")
