"""The state database: opening, migrating, reading and the one writer.

WAL, so that readers in any process never wait for the writer. SQLite serialises writers by itself; the
lock file (``lock.py``) is what keeps two *daemons* apart, and ``Database.write`` keeps the tasks of one
process apart. A write runs in a thread, as one transaction; small indexed reads may run inline.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, NoReturn, Self, TypeVar

import apsw
import trio
from outcome import Error, Outcome, Value

from icloudfs import descriptors, ours, pathtext
from icloudfs.apple.session import stem
from icloudfs.aside import is_over
from icloudfs.errors import (
    DiskFull,
    IcloudfsError,
    StateDamaged,
    StateTooNew,
    StateUnreachable,
    TooManyOpenFiles,
)
from icloudfs.state import schema

log = logging.getLogger(__name__)

T = TypeVar("T")

BUSY_TIMEOUT = 10_000
"""Milliseconds to wait for another process's write. APSW's own default is not to wait at all."""

CACHE_PAGES_KIB = 8 * 1024
"""Page cache a connection, KiB. The operating system caches the file; this only saves system calls."""

CHECKPOINT_PAGES = 4000
"""Pages of WAL (16 MB) before they are folded into the database, four times SQLite's own: a listing
touches the same pages again and again, and each folding writes them once."""


_CREATE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
_LOOK = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
_MEND = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI

_TOGETHER = 16
"""Transactions that are committed together at most: how long the first waits for the last."""


def database_path(cookie_directory: Path, account: str) -> Path:
    """Where the state of ``account`` lies: ``{cookie_directory}/{username}.db``."""
    return cookie_directory / f"{stem(account)}.db"


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What can go wrong with the file, in words: DiskFull, StateDamaged, or IcloudfsError."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        known = _known(path, error)
        if known is None:
            raise
        raise known from error


def trouble(path: Path) -> IcloudfsError | None:
    """What is wrong with the database, as far as anybody of this process has met it; None after a write that
    went well, or a look at all of it where a page was damaged."""
    return _troubles.get(os.path.realpath(path)) if _troubles else None


_troubles: dict[str, IcloudfsError] = {}
"""By the path as SQLite has it, without links."""


def _known(path: Path, error: Exception) -> IcloudfsError | None:
    """The error in words, and noted; None if it is the program's, not the file's."""
    known = _sentence(path, error)
    if isinstance(known, StateDamaged | DiskFull):
        _troubles.setdefault(os.path.realpath(path), known)
    return known


def _sentence(path: Path, error: Exception) -> IcloudfsError | None:
    match error:
        case apsw.FullError():
            return DiskFull(f"The disk with the state database {path} is full.")
        case apsw.BusyError() | apsw.ProtocolError():
            return IcloudfsError(
                f"Another process has been writing to the state database {path} for too long.",
                hint="Try again when it is done.",
            )
        case apsw.NotADBError() | apsw.CorruptError():
            return StateDamaged(f"The state database {path} is damaged: {error}.")
        case apsw.CantOpenError() | apsw.IOError() if descriptors.are_lacking():
            return TooManyOpenFiles("Too many files are open.")
        case apsw.CantOpenError() | apsw.IOError() | apsw.ReadOnlyError() | apsw.PermissionsError():
            return StateUnreachable(
                f"The state database {path} cannot be opened, read or written: {error}."
            )
        case OSError() if descriptors.is_lack(error):
            return TooManyOpenFiles("Too many files are open.")
        case OSError():
            return StateUnreachable(
                f"The state database {path} cannot be made: {error.strerror or error}.",
                hint="Check its directory, or choose another --cookie-directory.",
            )
    return None


class _Connection(apsw.Connection):
    path: Path
    """Of the database. What apsw calls its file must be UTF-8."""


class _Reading(apsw.Cursor):
    """A cursor whose errors are told in words, wherever its rows are taken (a third of a microsecond a
    query)."""

    def execute(self, *arguments: Any, **options: Any) -> Self:
        try:
            super().execute(*arguments, **options)
        except apsw.Error as error:
            self._tell(error)
        return self

    def fetchone(self) -> Any:
        try:
            return super().fetchone()
        except apsw.Error as error:
            self._tell(error)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        try:
            yield from iter(super().__next__, None)
        except apsw.Error as error:
            self._tell(error)

    def _tell(self, error: apsw.Error) -> NoReturn:
        assert isinstance(self.connection, _Connection)
        known = _known(self.connection.path, error)
        if known is None:
            raise error
        raise known from error


def connect(path: Path, *, write: bool) -> apsw.Connection:
    """A connection to an existing, migrated database.

    Raises StateTooNew for a database of a newer version, which is left untouched, and what ``told``
    raises for a file that cannot be opened or is no database of ours.
    """
    flags = apsw.SQLITE_OPEN_READWRITE if write else apsw.SQLITE_OPEN_READONLY
    with told(path):
        _refuse_newer(path)
        connection = _Connection(pathtext.uri(path), flags=flags | apsw.SQLITE_OPEN_URI)
        connection.path = path
        connection.set_busy_timeout(BUSY_TIMEOUT)
        _configure(connection)
    if not write:
        connection.cursor_factory = _Reading
    return connection


def look(path: Path) -> apsw.Connection | None:
    """A connection to read with; None if nothing is kept yet: there is no file, or it is just being
    made or taken away. Raises as ``connect`` does."""
    try:
        connection = connect(path, write=False)
    except StateDamaged:
        if path.exists():
            raise
        return None
    if _version(connection) == 0:
        connection.close()
        return None
    return connection


def create(path: Path) -> apsw.Connection:
    """A writing connection to the database at ``path``, made or migrated as far as need be.

    Raises as ``connect`` does.
    """
    with told(path):
        ours.make_directory(path.parent)
        # It names every photo of a person: nobody else may read it. SQLite gives -wal and -shm the
        # same mode.
        os.close(ours.open_file(path, os.O_RDWR))
        _refuse_newer(path)
        connection = apsw.Connection(pathtext.uri(path), flags=_CREATE)
        connection.set_busy_timeout(BUSY_TIMEOUT)
        connection.pragma("journal_mode", "wal")
        _configure(connection)
        migrate(connection)
    return connection


def migrate(connection: apsw.Connection) -> None:
    """Bring the database to this version, each step a transaction of its own."""
    while (version := _version(connection)) < schema.VERSION:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have done this step while we waited for the lock.
            if _version(connection) == version:
                schema.MIGRATIONS[version](connection)
                connection.pragma("user_version", version + 1)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _version(connection: apsw.Connection) -> int:
    version = connection.pragma("user_version")
    assert isinstance(version, int)
    return version


def _refuse_newer(path: Path) -> None:
    """On a read-only connection: it cannot change the file, not even by folding its WAL back."""
    try:
        version = _version_at(path, _LOOK)
    except apsw.ReadOnlyError:
        # The power went in the middle of a transaction from before there was a WAL. It has to be undone,
        # whichever version made it.
        version = _version_at(path, _MEND)
    if version > schema.VERSION:
        raise StateTooNew(
            f"The state database {path} has version {version}; "
            f"this icloudfs knows versions up to {schema.VERSION}."
        )


def _version_at(path: Path, flags: int) -> int:
    connection = apsw.Connection(pathtext.uri(path), flags=flags)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT)
        return _version(connection)
    finally:
        connection.close()


def _configure(connection: apsw.Connection) -> None:
    connection.pragma("synchronous", "normal")
    connection.pragma("foreign_keys", True)
    connection.pragma("cache_size", -CACHE_PAGES_KIB)
    connection.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
    connection.pragma("temp_store", "memory")


_OF_THE_DISK = (
    apsw.FullError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.BusyError,
    apsw.NotADBError,
    apsw.CorruptError,
    apsw.NoMemError,
)
"""After these SQLite gives up all that was not committed."""


class _Write(Generic[T]):
    """A transaction that waits for its turn, and what came of it."""

    def __init__(
        self, transaction: Callable[[apsw.Connection], T], then: Callable[[T], None] | None
    ) -> None:
        self._transaction = transaction
        self._then = then
        self._outcome: Outcome[T] | None = None
        self.done = trio.Event()

    def run(self, connection: apsw.Connection) -> None:
        """On the writing thread. An error of the transaction undoes what it wrote, nothing else."""
        connection.execute("SAVEPOINT one")
        try:
            self._outcome = Value(self._transaction(connection))
        except Exception as error:
            if isinstance(error, _OF_THE_DISK) or not connection.in_transaction:
                raise  # it is everybody's
            connection.execute("ROLLBACK TO one")
            self._outcome = Error(error)
        connection.execute("RELEASE one")

    def finish(self, failed: BaseException | None) -> None:
        """On the event loop: the group is committed, or has ``failed`` as a whole."""
        if failed is not None:
            # Each its own: one error raised in several tasks would mix their tracebacks.
            self._outcome = Error(copy.copy(failed) if isinstance(failed, Exception) else failed)
        elif self._then is not None and isinstance(self._outcome, Value):
            try:
                self._then(self._outcome.value)
            except Exception as error:
                self._outcome = Error(error)
        self.done.set()

    def result(self) -> T:
        """What the transaction returned. Raises what it raised."""
        assert self._outcome is not None
        return self._outcome.unwrap()


def _is_sound(connection: apsw.Connection) -> bool:
    return connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)


class Database:
    """The state of one account, open for writing, with a second connection for reading.

    ``reader`` belongs to the event loop: small indexed reads, inline. ``write`` and ``read`` are for
    everything else. The two never share a connection, so a long transaction delays no look-up.

    Transactions that wait while another is written are committed together: pages of a listing touch
    the same parts of the tables, and each part is written to the disk once. (Storing 20,000 photos
    on a disk took 6.8 s in groups of eight, 11.8 s one by one.)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _troubles.pop(os.path.realpath(path), None)  # another one may have taken its place
        self._writer = create(path)
        self.reader = connect(path, write=False)
        self._waiting: list[_Write[Any]] = []
        self._lock = trio.Lock()
        self._has_written = False
        """Whether the last group changed anything: a disk is not asked for less."""

    async def write(
        self,
        transaction: Callable[[apsw.Connection], T],
        then: Callable[[T], None] | None = None,
    ) -> T:
        """Run ``transaction`` in a thread: all of it or nothing, and on disk when this returns.

        ``then`` is called with its result on the event loop, in the order of the transactions. Once
        it is the transaction's turn it is not to be cancelled: the thread is always waited for. Raises
        what the transaction raises, and what ``told`` raises; the database is then as it was before.
        What ``then`` raises is raised as well, and here alone: what was written stays.
        """
        mine = _Write(transaction, then)
        self._waiting.append(mine)
        try:
            async with self._lock:
                if not mine.done.is_set():
                    await self._write_waiting()
        except trio.Cancelled:
            if mine in self._waiting:
                self._waiting.remove(mine)
                raise
            with trio.CancelScope(shield=True):
                await mine.done.wait()
        return mine.result()

    async def _write_waiting(self) -> None:
        # One by one where a page is damaged: only who needs it fails.
        most = _TOGETHER if self.trouble is None else 1
        group, self._waiting = self._waiting[:most], self._waiting[most:]
        failed: BaseException | None = None
        try:
            with trio.CancelScope(shield=True):  # the others' transactions are in it, too
                await trio.to_thread.run_sync(self._run, group)
        except BaseException as error:
            failed = error
        else:
            if _troubles and self._has_written:
                self._went_well()
        for write in group:
            write.finish(failed)

    async def settle(self) -> None:
        """Have the disk keep what was committed, whatever happens to its power: fold the WAL back as far as
        readers let it, and sync the rest. Raises what ``told`` raises."""
        async with self._lock:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._settle)

    def _settle(self) -> None:
        with told(self.path):
            with suppress(apsw.BusyError):  # another process is just folding it
                self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            with suppress(FileNotFoundError):
                wal = f"{os.path.realpath(self.path)}-wal"
                fd = os.open(wal, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)

    async def read(self, question: Callable[[apsw.Connection], T]) -> T:
        """Ask in a thread, on a connection of its own, what walks over much of the library.

        ``reader`` is for what one index answers: while it is asked, nobody's look-up is.
        """
        return await trio.to_thread.run_sync(self._ask, question)

    def _ask(self, question: Callable[[apsw.Connection], T]) -> T:
        with told(self.path), closing(connect(self.path, write=False)) as connection:
            return question(connection)

    def write_now(self, transaction: Callable[[apsw.Connection], T]) -> T:
        """Like ``write``, for callers without an event loop: start-up and tests."""
        write = _Write(transaction, None)
        self._run([write])
        return write.result()

    def _run(self, group: Sequence[_Write[Any]]) -> None:
        with told(self.path):
            if self._writer.in_transaction:  # which could not be undone when it failed
                self._writer.execute("ROLLBACK")
            # IMMEDIATE: a transaction that first reads and then finds another process's write in its
            # way could only be thrown away.
            self._writer.execute("BEGIN IMMEDIATE")
            before = self._writer.total_changes()
            try:
                for write in group:
                    write.run(self._writer)
                self._writer.execute("COMMIT")
                self._has_written = self._writer.total_changes() != before
            except BaseException:
                with suppress(apsw.Error):
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                raise

    def _went_well(self) -> None:
        """A disk that took a write is well again; whether a page is damaged, ``look_again`` finds out."""
        if isinstance(self.trouble, DiskFull | StateUnreachable):
            self._is_over()

    def _is_over(self) -> None:
        is_over(_troubles.pop(os.path.realpath(self.path)))
        log.info("The state database %s can be used again", self.path)

    async def look_again(self) -> None:
        """If a page was found damaged, read the whole file: a disk that fails for a while looks like that, too.
        Costs nothing otherwise."""
        if self.trouble is None or isinstance(self.trouble, DiskFull | StateUnreachable):
            return
        with suppress(IcloudfsError):
            if await self.read(_is_sound):
                self._is_over()

    @property
    def trouble(self) -> IcloudfsError | None:
        """What is wrong with it (``trouble``)."""
        return trouble(self.path)

    def close(self) -> None:
        """Close both connections. The WAL is folded back into the database if nobody else reads."""
        for connection in (self.reader, self._writer):
            try:
                connection.close()
            except apsw.Error as error:
                log.warning("The state database %s could not be closed: %s", self.path, error)
