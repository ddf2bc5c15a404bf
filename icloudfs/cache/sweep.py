"""What an earlier life left in the cache directory.

Leftovers of downloads go each time. After a crash or a power cut, or under a new database, disk and rows may be
some commits apart, either way:

* Whole contents that no row speaks of are not lost: they go back to ``partial`` with a row that says that
  every byte is there, and the first read verifies them.
* A content whose rename did not reach the disk is put in its place.
* Rows whose file is not there go: nothing is claimed that is not here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import apsw

from icloudfs.cache.eviction import Room, bytes_of
from icloudfs.cache.holding import identity
from icloudfs.cache.orphans import has_row, is_ours
from icloudfs.cache.places import Places, checksum_of
from icloudfs.errors import IcloudfsError
from icloudfs.state import contents
from icloudfs.state.contents import Content
from icloudfs.state.database import Database, connect

log = logging.getLogger(__name__)

_AT_ONCE = 200
"""Files that are moved together, which nobody can open meanwhile."""

_PAGE = 500
"""Rows that are looked through at once."""


class Sweep:
    """One tidying-up, beside everything else that goes on.

    Directories are read and files moved in threads, after a look at who holds them and at their rows;
    meanwhile nobody can open them, so that nothing comes between.
    """

    def __init__(
        self, places: Places, database: Database, room: Room, is_held: Callable[[str], bool]
    ) -> None:
        """``is_held``: whether a file of that name is somebody's business just now."""
        self._places = places
        self._database = database
        self._room = room
        self._is_held = is_held

    async def run(self, *, thoroughly: bool) -> None:
        """``thoroughly``: also look where files and rows disagree. Logs what cannot be done."""
        try:
            await self._places.disk.run(self._empty_leaving)
            await self._tidy_parts()
            if thoroughly:
                await self._take_back_contents()
                await self._forget_what_is_gone()
        except (OSError, apsw.Error, IcloudfsError) as error:
            log.warning("The cache directory could not be tidied up: %s", error)

    def _empty_leaving(self) -> None:
        _unlink(self._places.left_behind())

    async def _tidy_parts(self) -> None:
        look = partial(self._without_row, _files_of_partial)
        for batch in await self._places.disk.run(look):
            parts = {each: self._row_of(each) for each in batch if not self._is_claimed(each)}
            with self._room.parting_with(_checksums(parts)):
                await self._places.disk.run(partial(self._tidy, parts))

    def _tidy(self, parts: dict[str, Content | None]) -> None:
        for relative, row in parts.items():
            part = self._places.absolute(relative)
            content = self._place_of(part, row)
            with suppress(FileNotFoundError, IsADirectoryError):  # we made none there
                if content is None:
                    part.unlink()
                else:
                    part.rename(content)

    def _place_of(self, part: Path, row: Content | None) -> Path | None:
        """Where a part belongs that is a whole content, as its row says; None for any other."""
        if row is None or row.status != "downloaded" or row.imported:
            return None
        content = self._places.absolute(row.path)
        with suppress(OSError):
            if identity(part.lstat()) == row.identity and not content.exists():
                content.parent.mkdir(mode=0o700, exist_ok=True)
                return content
        return None

    async def _take_back_contents(self) -> None:
        look = partial(self._without_row, _files_of_content)
        for batch in await self._places.disk.run(look):
            wholes = [each for each in batch if not self._is_claimed(each)]
            with self._room.parting_with(_checksums(wholes)):
                taken = await self._places.disk.run(partial(self._take_back, wholes))
                for each in taken:
                    row = contents.get(self._database.reader, each.checksum)
                    self._room.arrived(0, each.size - (bytes_of(row) if row else 0))
                await self._database.write(partial(_record, taken=taken))

    def _take_back(self, wholes: list[str]) -> list[_Taken]:
        taken = []
        for relative in wholes:
            checksum = checksum_of(Path(relative).name)
            if checksum is None:
                continue
            content = self._places.absolute(relative)
            part = self._places.new_part(checksum)
            with suppress(FileNotFoundError):
                found = content.stat()
                content.rename(self._places.absolute(part))
                taken.append(_Taken(checksum, part, found.st_size, int(found.st_mtime)))
        return taken

    async def _forget_what_is_gone(self) -> None:
        after: str | None = ""
        while after is not None:
            suspects, after = await self._database.read(partial(self._without_file, after=after))
            suspects = [row for row in suspects if self._is_as_it_was(row)]
            with self._room.parting_with(row.checksum for row in suspects):
                gone = await self._places.disk.run(partial(self._gone, suspects))
                if gone:
                    self._room.left(sum(map(bytes_of, gone)))
                    await self._database.write(partial(_forget, rows=gone))

    def _gone(self, rows: list[Content]) -> list[Content]:
        return [row for row in rows if not self._places.absolute(row.path).is_file()]

    def _without_file(
        self, connection: apsw.Connection, after: str
    ) -> tuple[list[Content], str | None]:
        """In a thread: those of a page of rows whose file is not here, and where the next page begins."""
        page = contents.here_page(connection, after, _PAGE)
        return self._gone(page), page[-1].checksum if len(page) == _PAGE else None

    def _is_as_it_was(self, row: Content) -> bool:
        """Whether the row is still there, and nobody is about to change it."""
        return not self._is_held(Path(row.path).name) and has_row(
            self._database.reader, row.path, row.checksum
        )

    def _is_claimed(self, relative: str) -> bool:
        name = Path(relative).name
        checksum = checksum_of(name)
        # By a name that tells no checksum, a row is only found by going through all: the thread just has.
        return self._is_held(name) or (
            checksum is not None and has_row(self._database.reader, relative, checksum)
        )

    def _row_of(self, relative: str) -> Content | None:
        checksum = checksum_of(Path(relative).name)
        return None if checksum is None else contents.get(self._database.reader, checksum)

    def _without_row(self, files: Callable[[Places], Iterator[str]]) -> list[list[str]]:
        """In a thread: paths of files that could be ours and that no row speaks of, in batches."""
        connection = connect(self._database.path, write=False)
        try:
            suspects = [
                relative
                for relative in files(self._places)
                if is_ours(name := Path(relative).name)
                and not has_row(connection, relative, checksum_of(name))
            ]
        finally:
            connection.close()
        return [suspects[at : at + _AT_ONCE] for at in range(0, len(suspects), _AT_ONCE)]


def _checksums(files: Iterable[str]) -> list[str]:
    """Those that the files are named after, as far as their names tell."""
    found = (checksum_of(Path(relative).name) for relative in files)
    return [checksum for checksum in found if checksum is not None]


class _Taken(NamedTuple):
    """A whole content that went back to the parts."""

    checksum: str
    path: str
    size: int
    mtime: int
    """Seconds since the epoch."""


def _record(connection: apsw.Connection, taken: list[_Taken]) -> None:
    for checksum, path, size, mtime in taken:
        contents.save_ranges(connection, checksum, size, path, [(0, size)], mtime)


def _forget(connection: apsw.Connection, rows: list[Content]) -> None:
    for row in rows:
        contents.forget(connection, row.checksum)


def _files_of_partial(places: Places) -> Iterator[str]:
    for path in places.partial.iterdir():
        yield f"partial/{path.name}"


def _files_of_content(places: Places) -> Iterator[str]:
    for path in places.content.glob("*/*"):
        yield str(path.relative_to(places.directory))


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        with suppress(IsADirectoryError):  # we made none there
            path.unlink(missing_ok=True)
