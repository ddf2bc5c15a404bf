"""What this disk holds of one content, while somebody has it open or fetches it.

Invariants

* ``present`` names bytes that were written to the open file. What the database calls present was synced
  to the disk before (``record``), and the file has a name that no other ever had (places.py), so a crash or
  a power cut can lose ranges but never invent one.
* A whole file is believed for as long as it is the one whose row was written: by size, mtime and inode. What
  was merely found in its place ``is_doubted``: nothing of it is shown before it was checked.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import apsw
import trio

from icloudfs.apple import checksum as apple
from icloudfs.cache.disk import in_passing
from icloudfs.cache.filesystems import is_prompt
from icloudfs.cache.opening import move, open_at_once, open_file
from icloudfs.cache.places import Places
from icloudfs.cache.ranges import RangeSet
from icloudfs.cache.verify import Digests, RunningDigest, digest, judge
from icloudfs.errors import CacheUnusable, ContentMismatch, DiskFull
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
        self.part = ""
        """Where the file lies until it is whole, relative to the cache directory; '' if there is none."""
        self.is_doubted = False
        """Whether every byte seems to be here, in a file that was found and is not known to be ours. If it
        is wrong, that says nothing of iCloud."""
        self._in_place: Content | None = None
        """The row of a whole file that is doubted where it lies."""
        self._believed = ""
        """The identity of a whole file when it was opened, or made."""
        self._is_elsewhere = False
        self._is_prompt = places.is_prompt
        """Whether the file can be asked what it is without waiting for anybody."""
        self._places = places
        self._database = database
        self._fd = -1
        self._stale: list[int] = []
        self._making = threading.Lock()
        self._proof: _Proof | None = None
        self._digest = RunningDigest()
        self._hashing = threading.Lock()
        self._can_ask_not_to_wait = True
        self._recorded: list[tuple[int, int]] | None = []
        """What the row says; None if it says something that is not so."""
        self._is_closed = False
        self.in_row = 0
        """Bytes that count by what the row says."""
        self.on_lost: Callable[[int], None] = _tell_nobody
        """Told of bytes that count no more, as the disk lost them."""

    # -- opening ---------------------------------------------------------------------------------

    def take_up_at_once(self, row: Content | None, *, check: bool = False) -> bool:
        """As ``take_up``, if that can be done without waiting; whether every byte is here."""
        if self.whole:
            return True
        is_ours = row is not None and row.status == "downloaded" and not row.imported
        if row is None or not is_ours or not self._places.is_prompt:
            return False
        self._fd = open_at_once(self._places.absolute(row.path))
        if self._fd >= 0:
            self._recorded = None
            self._judge_whole(row, check)
        return self.is_here

    def take_up(self, row: Content | None, *, check: bool = False) -> None:
        """Open what the database says is here: in a thread, since it may wait for the disk.

        ``check``: doubt a whole file even if it is the one that was written. Where row and disk disagree
        the disk is right; ``record`` puts the row right later.
        """
        if self.whole:
            return
        if row is not None and row.status == "downloaded":
            self._take_up_whole(row, check)
        elif row is None or not row.path:
            self._adopt()
        elif row.status == "partial":
            self._take_up_partial(row)

    def _take_up_whole(self, row: Content, check: bool) -> None:
        self._recorded = None
        with suppress(OSError):
            self._fd = open_file(self._places.absolute(row.path), os.O_RDONLY)
        if self._fd >= 0:
            self._judge_whole(row, check)

    def _judge_whole(self, row: Content, check: bool) -> None:
        found = os.fstat(self._fd)
        is_the_same = identity(found) == row.identity
        if found.st_size != self.size or (row.imported and not is_the_same):
            self._close_file()
            return
        self._is_elsewhere = row.imported
        if row.imported:
            self._is_prompt = is_prompt(self._fd)
        if row.imported or found.st_nlink > 1:
            self.identity = identity(found)
        can_be_checked = bool(row.sha256) or apple.is_checkable(self.checksum)
        if is_the_same and not (check and can_be_checked):
            self._believed = row.identity
            self.whole = True
        else:
            self._in_place = row
            self._doubt()

    def _doubt(self) -> None:
        self.present.add(0, self.size)
        self.is_doubted = True

    def _take_up_partial(self, row: Content) -> None:
        self._recorded = None
        if row.size != self.size:
            return
        try:
            self._fd = _open_to_write(self._places.absolute(row.path))
        except OSError:
            self._adopt()
            return
        self.part = row.path
        for recorded in row.ranges:
            for start, stop in _written(self._fd, *recorded):
                self.present.add(start, stop)
        if list(self.present) == row.ranges:
            self._recorded = row.ranges
        if self.present.covers(0, self.size):
            self._doubt()

    def _adopt(self) -> None:
        """A whole file that no row speaks of: the process ended between the rename and the commit, or
        the database is a new one. It goes back to ``partial`` and is verified before it is believed."""
        content = self._places.absolute(self._places.content_path(self.checksum))
        part = self._places.new_part(self.checksum)
        with suppress(OSError):
            content.rename(self._places.absolute(part))
            self._fd = _open_to_write(self._places.absolute(part))
            self.part = part
            if os.fstat(self._fd).st_size == self.size:
                self._doubt()

    def disown_row(self) -> None:
        """What the row says is not to be used; ``record`` says so."""
        self._recorded = None

    @property
    def is_here(self) -> bool:
        """Whether every byte is here, if only as it seems."""
        return self.whole or self.is_doubted

    @property
    def row_is_wrong(self) -> bool:
        """Whether ``record`` has something to put right."""
        is_right = self.whole or self._in_place is not None or self._is_closed
        return not is_right and self._recorded != list(self.present)

    @property
    def hashed(self) -> int:
        """Bytes from the beginning on that were hashed."""
        return self._digest.reached

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
        if not self._can_ask_not_to_wait or not self._is_prompt:
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

    async def read(self, start: int, stop: int, patience: float) -> bytes | None:
        """Bytes that are here, from a thread; None if the file is not what was hashed any more, or was
        truncated under us.

        Raises OSError, and DiskSilent after ``patience`` seconds.
        """
        # A number of the thread's own: it may still be waiting when ours is closed, and used again.
        own = [os.dup(self._fd)]
        disk = self._places.elsewhere if self._is_elsewhere else self._places.disk
        try:
            data = await disk.ask(partial(_pread, own, start, stop, self.identity), patience)
        finally:
            if own:
                in_passing(partial(os.close, own.pop()))  # no thread has begun
        return data if data is not None and len(data) == stop - start else None

    def is_still_itself(self) -> bool:
        """Whether a file that its owner may write to is what was hashed; True for everything else. Only of
        one that is read without waiting."""
        return not self.identity or identity(os.fstat(self._fd)) == self.identity

    def is_what_was_written(self) -> bool:
        """Whether nobody wrote to a whole file since it was opened first, or made; True for a part, and for
        one that cannot be asked without waiting."""
        if not self.whole or not self._is_prompt or self._fd < 0:
            return True
        return identity(os.fstat(self._fd)) == self._believed

    # -- filling ---------------------------------------------------------------------------------

    async def write(self, start: int, blocks: Sequence[bytes]) -> int:
        """Put ``blocks`` at ``start``; how many bytes that added. Raises DiskFull, CacheUnusable."""
        generation = self.generation
        try:
            await self._places.disk.run(partial(self._write, start, blocks))
        except OSError as error:
            raise storage_error(error) from error
        if self.generation != generation:
            return 0  # the file was given up meanwhile
        return self.present.add(start, start + sum(map(len, blocks)))

    def _write(self, start: int, blocks: Sequence[bytes]) -> None:
        with self._making:  # two pulls may bring the first bytes, each in a thread
            if self._fd < 0:
                part = self._places.new_part(self.checksum)
                self._fd = self._places.open_new(part)
                self.part = part
            fd = self._fd
        if os.fstat(fd).st_size != self.size:
            os.ftruncate(fd, self.size)
        for block in blocks:
            rest = memoryview(block)
            while rest:
                written = os.pwrite(fd, rest, start)
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
            return await self._places.disk.run(partial(self._hash, self._fd, begun, stop))
        except OSError:
            return False

    def _hash(self, fd: int, begun: RunningDigest, stop: int) -> bool:
        before = begun.reached
        with self._hashing:
            while begun.advance(fd, stop):
                pass
        return begun.reached > before

    async def record(self) -> None:
        """Make the row say what is here: the bytes first, then the ranges. Raises OSError and the errors of
        the database; the row is behind then, as it was."""
        async with self.lock:
            if not self.row_is_wrong:
                return
            ranges = list(self.present)
            if ranges:
                await self._sync()
                await self._database.write(self._save_ranges(ranges))
            else:
                await self._database.write(self._forget)
            self._recorded = ranges
            self.in_row = sum(stop - start for start, stop in ranges)

    async def _sync(self) -> None:
        """What was written is on the disk. Raises OSError, and then nothing of it is here any more: the
        kernel says once that it could not write, and calls the pages written from then on."""
        generation = self.generation
        try:
            await self._places.disk.run(partial(os.fdatasync, self._fd))
        except OSError:
            if self.generation == generation:
                self.on_lost(self.present.total)
                fd, part = self._fd, self._places.absolute(self.part)
                self.let_go()
                with suppress(OSError):
                    await trio.to_thread.run_sync(_unlink, part, fd)
            raise

    def _save_ranges(self, ranges: list[tuple[int, int]]) -> _Change:
        path = self.part
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
                    found = await self._places.disk.run(partial(self._finish, self._digest))
                except OSError as error:
                    raise storage_error(error) from error
                self._proof = _Proof(found, self._judge(found))

    def _judge(self, found: Digests) -> bool:
        by_checksum = judge(self.checksum, self.size, found)
        row = self._in_place
        if row is not None and not by_checksum and row.sha256 != found.sha256:
            raise ContentMismatch(f"Expected SHA-256 {row.sha256}, found {found.sha256}.")
        return by_checksum

    def _finish(self, begun: RunningDigest) -> Digests:
        with self._hashing:
            return digest(self._fd, begun=begun)

    async def keep(self) -> None:
        """Make the verified file the content, for good, unless it is. Raises DiskFull, CacheUnusable."""
        async with self.lock:
            if self.whole:
                return
            if self._proof is None:  # given up meanwhile, by ``record``
                raise CacheUnusable("The cache directory cannot be written: what came was lost.")
            try:
                if self._in_place is not None:
                    seen = identity(await self._places.disk.run(partial(os.fstat, self._fd)))
                    await self._database.write(self._believe(self._in_place, self._proof, seen))
                else:
                    # On the disk before the row says so: a power cut must not leave zeros with our
                    # word on.
                    await self._places.disk.run(self._have_a_name)
                    await self._sync()
                    seen = await self._publish(self._proof)
            except OSError as error:
                raise storage_error(error) from error
            self._believed = seen
            self.whole = True
            self.in_row = self.size
            self.is_doubted = False
            self._in_place = None

    def _have_a_name(self) -> None:
        """If somebody has deleted the file or moved it away, as with all of the directory, it is put where it
        was wanted once more."""
        there = self.part, self._places.content_path(self.checksum)
        if not any(_is_at(self._places.absolute(path), self._fd) for path in there):
            part = self._places.new_part(self.checksum)
            fd = self._places.open_new(part)
            self._stale.append(self._fd)
            _copy(self._fd, fd, self.size)
            self._fd, self.part = fd, part

    def _believe(self, row: Content, proof: _Proof, seen: str) -> _Change:
        return lambda connection: contents.set_checked(
            connection, self.checksum, row.path, proof.found.sha256, seen, proven=proof.by_checksum
        )

    async def _publish(self, proof: _Proof) -> str:
        """Put the file where contents lie, and say so in its row; its identity."""
        path = self._places.content_path(self.checksum)
        part = self._places.absolute(self.part)
        content = self._places.absolute(path)

        def publish(connection: apsw.Connection) -> str:
            seen = identity(os.fstat(self._fd))
            contents.set_downloaded(
                connection,
                self.checksum,
                self.size,
                path,
                sha256=proof.found.sha256,
                verified=proof.by_checksum,
                now=time.time_ns() // 1_000_000,
                identity=seen,
            )
            content.parent.mkdir(mode=0o700, exist_ok=True)
            # Last before the commit. If the process ends between the two, ``_adopt`` finds the file.
            if not _is_at(content, self._fd):  # as after a commit that failed
                move(part, content)
            return seen

        try:
            return await self._database.write(publish)
        except Exception:
            # What is recorded of it, and the next try, look for it where it was.
            with suppress(OSError):
                await trio.to_thread.run_sync(_take_back, content, part, self._fd)
            raise

    async def discard(self, reason: str | None) -> None:
        """Throw away what is here; with a ``reason``, the content counts as failed."""
        async with self.lock:
            fd, part = self._fd, self._places.absolute(self.part)
            self.let_go()
            if fd >= 0:
                await self._places.disk.run(partial(_destroy, fd, part))
            await self._database.write(self._failed(reason) if reason else self._forget)
            self._recorded = []
            self.in_row = 0

    def _failed(self, reason: str) -> _Change:
        return lambda connection: contents.set_failed(connection, self.checksum, self.size, reason)

    async def remove(self) -> None:
        """Take the file away that is doubted and proved wrong, unless it is another's. Its number stays
        good until the last reader has left; ``lose`` is the caller's. Raises OSError."""
        async with self.lock:
            if not self._is_elsewhere:
                path = self._in_place.path if self._in_place is not None else self.part
                away = partial(_unlink, self._places.absolute(path), self._fd)
                await self._places.disk.run(away)

    def lose(self) -> None:
        """The file behind a whole content is gone or changed: it is to be fetched again.

        The number of the old file is not closed while somebody may be reading from it; nothing is
        written to it either, because ``_write`` makes a new one.
        """
        self.whole = False
        self.identity = ""
        self._is_elsewhere = False
        self._is_prompt = self._places.is_prompt
        self.let_go()

    def let_go(self) -> None:
        """What is here is not wanted any more; its file is the caller's to remove."""
        self.present.clear()
        self.part = ""
        self.is_doubted = False
        self._in_place = None
        self._proof = None
        self._digest = RunningDigest()
        self.generation += 1
        self._recorded = None
        if self._fd >= 0:
            self._stale.append(self._fd)
        self._fd = -1

    def is_open_at(self, wanted: str) -> bool:
        """Whether the file with that identity is the one that is open. Waits for the disk."""
        return self._fd >= 0 and identity(os.fstat(self._fd)) == wanted

    @property
    def may_wait_to_close(self) -> bool:
        """Whether ``close`` is for a thread."""
        return bool(self._stale) or (self._fd >= 0 and not (self.whole and self._is_prompt))

    def close(self) -> None:
        """Close the file, as ``closing`` says."""
        self.closing()()

    def closing(self) -> Callable[[], None]:
        """What closes the file; from now on nobody reads or writes it, or records what is here. A partial file
        is removed if it is empty, or if no row tells what of it is good."""
        is_untold = self.row_is_wrong and not self._recorded
        self._is_closed = True
        numbers, self._stale = [*self._stale, self._fd], []
        self._fd = -1
        is_useless = self.part and not self.whole and (is_untold or not self.present)
        part = self._places.absolute(self.part) if is_useless else None
        return partial(_close_all, numbers, part)

    def _close_file(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            _close(fd)


def _tell_nobody(lost: int) -> None:
    """Nothing is counted."""


def _close(fd: int) -> None:
    """What NFS could not write it tells here; nothing is believed that was not synced before."""
    with suppress(OSError):
        os.close(fd)


def _close_all(numbers: list[int], part: Path | None) -> None:
    for fd in numbers:
        if fd >= 0:
            _close(fd)
    if part is not None:
        with suppress(OSError):
            part.unlink()


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


def _copy(fd: int, to: int, size: int) -> None:
    while (copied := os.lseek(to, 0, os.SEEK_CUR)) < size and os.sendfile(to, fd, copied, size):
        pass


def _written(fd: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """What of ``[start, stop)`` was ever written to, as far as the filesystem can tell."""
    while start < stop:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # it cannot tell
                yield start, min(stop, os.fstat(fd).st_size)
            return  # a hole up to the end, or beyond it
        hole = os.lseek(fd, start, os.SEEK_HOLE)
        if start < stop:
            yield start, min(hole, stop)
        start = hole


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _take_back(content: Path, part: Path, fd: int) -> None:
    if _is_at(content, fd):
        content.rename(part)


def _unlink(path: Path, fd: int) -> None:
    """Unless another file lies there by now."""
    if _is_at(path, fd):
        path.unlink()


def _destroy(fd: int, path: Path) -> None:
    """Also for those who have it open: none of its bytes is good for anything."""
    os.ftruncate(fd, 0)
    path.unlink(missing_ok=True)


def _pread(own: list[int], start: int, stop: int, expected: str) -> bytes | None:
    """``own``: the descriptor, which is taken from there and closed. None if the file is not the one that is
    ``expected``."""
    fd = own.pop()
    try:
        parts = []
        while start < stop and (part := os.pread(fd, stop - start, start)):
            parts.append(part)
            start += len(part)
        if expected and identity(os.fstat(fd)) != expected:
            return None
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(fd)


def storage_error(error: OSError) -> DiskFull | CacheUnusable:
    """An error of writing to the cache directory, in words."""
    if error.errno in _NO_ROOM:
        return DiskFull("There is no room for it in the cache directory.")
    return CacheUnusable(f"The cache directory cannot be written: {error.strerror}.")
