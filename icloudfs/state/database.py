"""The state database: opening, migrating, reading and the one writer.

WAL, so that readers in any process never wait for the writer. SQLite serialises writers by itself; the
lock file (``lock.py``) is what keeps two *daemons* apart, and ``Database.write`` keeps the tasks of one
process apart. A write runs in a thread, as one transaction; small indexed reads may run inline.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw
import trio

from icloudfs.errors import StateDamaged, StateTooNew
from icloudfs.state import schema

T = TypeVar("T")

BUSY_TIMEOUT = 10_000
"""Milliseconds to wait for another process's write. APSW's own default is not to wait at all."""

CACHE_PAGES_KIB = 8 * 1024
"""Page cache a connection, KiB. The operating system caches the file; this only saves system calls."""


def database_path(cookie_directory: Path, account: str) -> Path:
    """Where the state of ``account`` lies: ``{cookie_directory}/{username}.db``."""
    return cookie_directory / f"{file_stem(account)}.db"


def file_stem(account: str) -> str:
    """The account's name as a file name: what cannot stand in one becomes ``_``."""
    return "".join(c if c.isalnum() or c in "@._-" else "_" for c in account.lower()).lstrip(".")


def connect(path: Path, *, write: bool) -> apsw.Connection:
    """A connection to an existing, migrated database.

    Raises StateTooNew for a database of a newer version, which is left untouched, and StateDamaged
    for a file that is no database of ours.
    """
    flags = apsw.SQLITE_OPEN_READWRITE if write else apsw.SQLITE_OPEN_READONLY
    try:
        connection = apsw.Connection(str(path), flags=flags)
        connection.set_busy_timeout(BUSY_TIMEOUT)
        _check_version(connection, path)
        _configure(connection)
    except (apsw.NotADBError, apsw.CorruptError, apsw.CantOpenError) as error:
        raise StateDamaged(f"The state database {path} cannot be opened: {error}") from error
    return connection


def create(path: Path) -> apsw.Connection:
    """A writing connection to the database at ``path``, made or migrated as far as need be.

    Raises StateTooNew and StateDamaged like ``connect``.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # It names every photo of a person: nobody else may read it. SQLite gives -wal and -shm the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR))
    try:
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(BUSY_TIMEOUT)
        _check_version(connection, path)
        connection.pragma("journal_mode", "wal")
        _configure(connection)
        migrate(connection)
    except (apsw.NotADBError, apsw.CorruptError, apsw.CantOpenError) as error:
        raise StateDamaged(f"The state database {path} cannot be opened: {error}") from error
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


def _check_version(connection: apsw.Connection, path: Path) -> None:
    version = _version(connection)
    if version > schema.VERSION:
        connection.close()
        raise StateTooNew(
            f"The state database {path} has version {version}; "
            f"this icloudfs knows versions up to {schema.VERSION}."
        )


def _configure(connection: apsw.Connection) -> None:
    connection.pragma("synchronous", "normal")
    connection.pragma("foreign_keys", True)
    connection.pragma("cache_size", -CACHE_PAGES_KIB)
    connection.pragma("temp_store", "memory")


class Database:
    """The state of one account, open for writing, with a second connection for reading.

    ``reader`` belongs to the event loop: small indexed reads, inline. ``write`` is for everything
    else. The two never share a connection, so a long transaction delays no look-up.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = create(path)
        self.reader = connect(path, write=False)
        self._lock = trio.Lock()

    async def write(self, transaction: Callable[[apsw.Connection], T]) -> T:
        """Run ``transaction`` in a thread as one transaction: all of it or nothing.

        Not to be cancelled half-way: the thread is always waited for.
        """
        async with self._lock:
            return await trio.to_thread.run_sync(self._run, transaction)

    def write_now(self, transaction: Callable[[apsw.Connection], T]) -> T:
        """The same for callers without an event loop: start-up and tests."""
        return self._run(transaction)

    def _run(self, transaction: Callable[[apsw.Connection], T]) -> T:
        # IMMEDIATE: a transaction that first reads and then finds another process's write in its
        # way could only be thrown away.
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            result = transaction(self._writer)
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        return result

    def close(self) -> None:
        """Close both connections. The WAL is folded back into the database if nobody else reads."""
        self.reader.close()
        self._writer.close()
