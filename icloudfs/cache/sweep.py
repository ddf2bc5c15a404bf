"""What an earlier life left in the cache directory.

Leftovers of downloads go each time. Whole contents that no row speaks of can only be there after a crash,
or under a new database; they are not lost: they go back to ``partial`` with a row that says that every
byte is there, and the first read verifies them.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import trio

from icloudfs.cache.eviction import Room, bytes_of
from icloudfs.cache.places import Places, checksum_of
from icloudfs.errors import IcloudfsError
from icloudfs.state import contents
from icloudfs.state.database import Database, connect

log = logging.getLogger(__name__)

_AT_ONCE = 200
"""Files that are moved before others may run; a rename takes some 10 µs."""


class Sweep:
    """One tidying-up, beside everything else that goes on.

    Directories are read in a thread. A file is moved on the event loop, after a look at who holds it
    and at its row, so that nothing can come between.
    """

    def __init__(
        self, places: Places, database: Database, room: Room, is_held: Callable[[str], bool]
    ) -> None:
        self._places = places
        self._database = database
        self._room = room
        self._is_held = is_held

    async def run(self, *, thoroughly: bool) -> None:
        """``thoroughly``: also look for whole contents without a row. Logs what cannot be done."""
        try:
            await trio.to_thread.run_sync(self._empty_leaving)
            await self._remove_unrecorded_parts()
            if thoroughly:
                await self._take_back_contents()
        except (OSError, apsw.Error, IcloudfsError) as error:
            log.warning("The cache directory could not be tidied up: %s", error)

    def _empty_leaving(self) -> None:
        _unlink(self._places.left_behind())

    async def _remove_unrecorded_parts(self) -> None:
        for batch in await trio.to_thread.run_sync(self._without_row, _files_of_partial, "partial"):
            leaving = []
            for checksum in batch:
                if self._is_claimed(checksum, "partial"):
                    continue
                leaving.append(self._places.next_leaving())
                partial = self._places.absolute(self._places.partial_path(checksum))
                with suppress(FileNotFoundError):
                    partial.rename(leaving[-1])
            await trio.to_thread.run_sync(_unlink, leaving)

    async def _take_back_contents(self) -> None:
        found = await trio.to_thread.run_sync(self._without_row, _files_of_content, "downloaded")
        for batch in found:
            taken: list[tuple[str, os.stat_result]] = []
            for checksum in batch:
                if not self._is_claimed(checksum, "downloaded"):
                    taken += self._take_back(checksum)
            await self._database.write(functools.partial(self._record, taken=taken))

    def _take_back(self, checksum: str) -> Iterator[tuple[str, os.stat_result]]:
        content = self._places.absolute(self._places.content_path(checksum))
        partial = self._places.absolute(self._places.partial_path(checksum))
        row = contents.get(self._database.reader, checksum)
        with suppress(FileNotFoundError):
            found = content.stat()
            content.rename(partial)
            self._room.arrived(0, found.st_size - (bytes_of(row) if row else 0))
            yield checksum, found

    def _record(self, connection: apsw.Connection, taken: list[tuple[str, os.stat_result]]) -> None:
        for checksum, found in taken:
            contents.save_ranges(
                connection,
                checksum,
                found.st_size,
                self._places.partial_path(checksum),
                [(0, found.st_size)],
                int(found.st_mtime),
            )

    def _is_claimed(self, checksum: str, status: str) -> bool:
        return self._is_held(checksum) or _has_row(self._database.reader, checksum, status)

    def _without_row(
        self, files: Callable[[Places], Iterator[str]], status: str
    ) -> list[list[str]]:
        """In a thread: checksums of files that no row of ``status`` speaks of, in batches."""
        connection = connect(self._database.path, write=False)
        try:
            suspects = [
                checksum
                for name in files(self._places)
                if (checksum := checksum_of(name)) is not None
                and not _has_row(connection, checksum, status)
            ]
        finally:
            connection.close()
        return [suspects[at : at + _AT_ONCE] for at in range(0, len(suspects), _AT_ONCE)]


def _has_row(connection: apsw.Connection, checksum: str, status: str) -> bool:
    row = contents.get(connection, checksum)
    return row is not None and row.status == status


def _files_of_partial(places: Places) -> Iterator[str]:
    for path in places.partial.iterdir():
        yield path.name


def _files_of_content(places: Places) -> Iterator[str]:
    for path in places.content.glob("*/*"):
        yield path.name


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
