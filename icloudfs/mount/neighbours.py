"""The next photos of a directory, fetched while somebody looks at them one after another.

Two photos that lie side by side in the order of their names, both read to their ends, are taken for a viewer
that goes on in that direction: the next few are fetched ahead, one at a time. A look at a head tells nothing,
so neither a thumbnailer nor an indexer causes anything.

What is fetched ahead yields to everybody: it begins only while nobody waits for iCloud, iCloud answers, and
there is room without evicting anything; it ends when somebody waits for something else, or nobody has read
for a while. A photo that is under way by then is finished.
"""

from __future__ import annotations

import heapq
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple, Protocol

import apsw
import trio

from icloudfs.cache.ranges import RangeSet
from icloudfs.errors import IcloudfsError
from icloudfs.mount.contents import Contents, OpenFile
from icloudfs.state.database import connect
from icloudfs.tree.directory import Directory, File

log = logging.getLogger(__name__)

LOOK = 512 << 10
"""Bytes of a file up to which a look at its head may be the whole: 128 KiB, and what the kernel reads ahead
of that, twice 128 KiB and more under way."""

AHEAD = 3
"""Photos that are fetched ahead of a viewer."""

MOST_BYTES = 64 << 20
"""Of those together."""

LEAVES = 10.0
"""Seconds without a read after which the viewer is believed to have gone."""

_LARGEST_DIRECTORY = 20_000
"""Entries that are looked through for what lies beside a photo: 50 ms in a thread."""

_LOOK_AGAIN = 0.05
"""Seconds between two looks whether somebody still waits for iCloud."""

_FILMS = (b".mov", b".mp4", b".m4v", b".avi", b".3gp")
"""A viewer of photos passes over them, as over the videos of live photos."""

_DIGITS = re.compile(r"(\d+)")


class Store(Contents, Protocol):
    """What is asked of the cache besides opening files."""

    @property
    def is_awaited(self) -> bool:
        """Whether a reader waits for anything to come from iCloud."""

    async def can_spare(self, size: int) -> bool:
        """Whether so many bytes can come without a need: iCloud answers, and nothing must make room."""

    async def fetch(self, file: File) -> bool:
        """Have the whole of ``file`` here. Raises IcloudfsError."""


class _Step(NamedTuple):
    """Somebody read one photo whole and then another."""

    before: File
    last: File


class Neighbours:
    """The contents of a mount, and who reads them. ``run`` fetches ahead for as long as it runs."""

    def __init__(self, store: Store, database: Path, *, up_to: int) -> None:
        """``up_to``: bytes of the largest photo; what is larger streams."""
        self._store = store
        self._database = database
        self._up_to = up_to
        self._last: File | None = None
        self._step: _Step | None = None
        self._stepped = trio.Event()
        self._expected: set[str] = set()
        self._under_way = trio.CancelScope()

    def open(self, file: File) -> OpenFile:
        """Open ``file``, and notice if it is read to its end."""
        opened = self._store.open(file)
        if not LOOK < file.size <= self._up_to:
            return opened
        return _Watched(self, file, opened)

    # -- what readers do ---------------------------------------------------------------------------

    def was_read(self) -> None:
        """Somebody is still there."""
        self._under_way.deadline = trio.current_time() + LEAVES

    def is_awaited(self, file: File) -> None:
        """Somebody waits for ``file``: if it is not one that is on its way anyhow, it comes alone."""
        if file.checksum not in self._expected:
            self._under_way.cancel()

    def was_read_whole(self, file: File) -> None:
        """Somebody saw all of ``file``; the one before and it may show where they are going."""
        before, self._last = self._last, file
        if before is not None and before.ino != file.ino:
            self._step = _Step(before, file)
            self._under_way.cancel()
            self._stepped.set()

    # -- fetching ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Fetch ahead of whoever goes from photo to photo, until cancelled."""
        while True:
            await self._stepped.wait()
            self._stepped = trio.Event()
            assert self._step is not None
            with trio.CancelScope(deadline=trio.current_time() + LEAVES) as self._under_way:
                await self._fetch_ahead(self._step)
            self._under_way = trio.CancelScope()

    async def _fetch_ahead(self, step: _Step) -> None:
        files = await trio.to_thread.run_sync(partial(self._beyond, step), abandon_on_cancel=True)
        self._expected = {file.checksum for file in (*step, *files)}
        for file in files:
            while self._store.is_awaited:  # noqa: ASYNC110 - nobody tells when that ends
                await trio.sleep(_LOOK_AGAIN)
            if not await self._store.can_spare(file.size):
                return
            try:
                await self._store.fetch(file)
            except IcloudfsError as error:
                log.info("%s was not fetched ahead: %s", file.checksum, error)
                return

    def _beyond(self, step: _Step) -> list[File]:
        """The next photos, nearest first; none if the two do not lie side by side."""
        connection = connect(self._database, write=False)
        try:
            directory = Directory(connection)
            inos = _following(connection, step.before.ino, step.last.ino)
            found = [directory.file(ino) for ino in inos]
        finally:
            connection.close()
        return list(self._as_many_as_allowed(file for file in found if file is not None))

    def _as_many_as_allowed(self, files: Iterable[File]) -> Iterator[File]:
        room, count = MOST_BYTES, AHEAD
        for file in files:
            if file.size > self._up_to:
                continue
            room, count = room - file.size, count - 1
            if room < 0 or count < 0:
                return
            yield file


class _Watched:
    """An open photo whose reader is noticed."""

    def __init__(self, neighbours: Neighbours, file: File, opened: OpenFile) -> None:
        self._neighbours = neighbours
        self._file = file
        self._opened = opened
        self._read: RangeSet | None = RangeSet()
        """What was read so far; None once that is everything."""

    @property
    def verified(self) -> bool:
        return self._opened.verified

    async def until_opened(self) -> None:
        await self._opened.until_opened()

    def read_now(self, offset: int, size: int) -> bytes | None:
        data = self._opened.read_now(offset, size)
        if data:
            self._note(offset, len(data))
        return data

    async def read(self, offset: int, size: int) -> bytes:
        self._neighbours.is_awaited(self._file)
        data = await self._opened.read(offset, size)
        self._note(offset, len(data))
        return data

    async def until_verified(self) -> None:
        self._neighbours.is_awaited(self._file)
        await self._opened.until_verified()

    def _note(self, offset: int, size: int) -> None:
        self._neighbours.was_read()
        if self._read is None:
            return
        self._read.add(offset, offset + size)
        if self._read.covers(0, self._file.size):
            self._read = None
            self._neighbours.was_read_whole(self._file)

    def close(self) -> None:
        self._opened.close()


# -- the order of names ----------------------------------------------------------------------------


def _following(connection: apsw.Connection, before: int, last: int) -> list[int]:
    """What lies beyond ``last`` as seen from ``before``, in every directory where they are neighbours:
    the nearest of each come first."""
    lists = [
        list(_beyond_in(connection, parent, before, last))
        for parent in _common_directories(connection, before, last)
    ]
    rounds = chain.from_iterable(zip_longest(*lists))
    return [ino for ino in dict.fromkeys(rounds) if ino is not None]


def _common_directories(connection: apsw.Connection, *inos: int) -> list[int]:
    rows = connection.execute(
        "SELECT a.parent FROM dirent a JOIN dirent b ON b.parent = a.parent"
        " WHERE a.ino = ? AND b.ino = ? ORDER BY a.parent",
        inos,
    )
    return [int(str(parent)) for (parent,) in rows]


def _beyond_in(connection: apsw.Connection, parent: int, before: int, last: int) -> Sequence[int]:
    names = {
        int(str(ino)): bytes(name)
        for name, ino in connection.execute(
            "SELECT name, ino FROM dirent WHERE parent = ? LIMIT ?", (parent, _LARGEST_DIRECTORY)
        )
    }
    if before not in names or last not in names:
        return ()
    here, film = order(names[last]), _is_film(names[last])
    there = order(names[before])
    # One pass for what lies beyond, no sorting of the whole: that would hold the interpreter.
    beyond: list[tuple[Order, int]] = []
    for ino, name in names.items():
        key = order(name)
        if _is_film(name) != film:
            continue
        if min(here, there) < key < max(here, there):
            return ()
        if key != here and (key > here) == (here > there):
            beyond.append((key, ino))
    return [ino for _, ino in _nearest(beyond, forward=here > there)]


def _is_film(name: bytes) -> bool:
    return name.lower().endswith(_FILMS)


Order = tuple[tuple[tuple[int, int, str], ...], bytes]


def order(name: bytes) -> Order:
    """A key that sorts names as file managers do: numbers by value, without regard to case."""
    parts = _DIGITS.split(name.decode("utf-8", "surrogateescape").casefold())
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part
    ), name


def _nearest(beyond: list[tuple[Order, int]], *, forward: bool) -> list[tuple[Order, int]]:
    """Twice as many as are fetched: some may be too large."""
    choose = heapq.nsmallest if forward else heapq.nlargest
    return choose(2 * AHEAD, beyond)
