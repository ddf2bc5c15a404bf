"""Contents that come from this machine and not from iCloud, without getting in the way of readers.

For as long as it takes, the fetches of those contents are set aside and their holdings locked: nothing
is fetched, nothing recorded. Readers that come meanwhile wait, and are served from the new file. What
somebody reads whole already, or is just fetching, is left alone: it is here, or will be in a moment.

Invariant: files and rows of one group change in one transaction. Cut off before it, there are only parts
without a row; after it, the next opening finds everything in place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import apsw
import msgspec
import trio

from icloudfs.cache.bringing import Arrival, How, bring, no_room
from icloudfs.cache.eviction import Room
from icloudfs.cache.fetch import Fetch
from icloudfs.cache.holding import identity
from icloudfs.cache.opening import move
from icloudfs.cache.parallel import portions
from icloudfs.cache.places import Places
from icloudfs.errors import ContentError, DiskFull
from icloudfs.state import contents
from icloudfs.state.database import Database
from icloudfs.tree.directory import File

_MOST_BYTES = 64 << 20
"""Copied in one group: readers of its contents wait for so long."""

_MOST_FILES = 100
"""In one group, and so in one transaction: to open them takes the event loop some 60 µs each."""


_SHARED = ("use", "link")
"""What its owner may write to afterwards: it has to be what was hashed."""


class Adopted(msgspec.Struct):
    """What became of some arrivals."""

    taken: list[Arrival] = []
    left: list[Arrival] = []
    """Their contents are here already, or on their way."""
    refused: list[tuple[Arrival, str]] = []
    """With the reason."""


class _Coming(NamedTuple):
    """An arrival that is being brought."""

    arrival: Arrival
    part: Path
    """Where it is made, unless it is used where it lies."""


class Adoption:
    """Makes arrivals the contents of one cache. One at a time: it holds many locks at once."""

    def __init__(
        self, places: Places, database: Database, room: Room, hold: Callable[[File], Fetch]
    ) -> None:
        """``hold`` gives the one fetch of a content, with one more reader."""
        self._places = places
        self._database = database
        self._room = room
        self._hold = hold
        self._lock = trio.Lock()

    async def adopt(self, arrivals: Sequence[Arrival], how: How) -> Adopted:
        """Raises CannotShare, CacheUnusable, and DiskFull if the cache or its disk has no room left;
        what came before that is adopted."""
        adopted = Adopted()
        # All but a copy takes no time to speak of, however large the file is.
        most_bytes = _MOST_BYTES if how == "copy" else 1 << 62
        async with self._lock:
            for group in portions(arrivals, _size, most_bytes, _MOST_FILES):
                await self._adopt_group(group, how, adopted)
        return adopted

    async def _adopt_group(self, group: list[Arrival], how: How, adopted: Adopted) -> None:
        brought: list[_Coming] = []
        async with AsyncExitStack() as stack:
            aside = await self._set_aside(group, stack, adopted)
            try:
                for coming in aside.values():
                    arrival = coming.arrival
                    size = sum(_size(each.arrival) for each in brought) + arrival.file.size
                    if how != "use" and not self._room.has_room(size):
                        raise no_room(arrival)
                    if await self._bring(coming, how, adopted):
                        brought.append(coming)
            finally:
                # Also if the next one failed, or somebody lost patience: a copy is whole or it is not.
                await self._publish(brought, how)
                adopted.taken += [coming.arrival for coming in brought]

    async def _set_aside(
        self, group: list[Arrival], stack: AsyncExitStack, adopted: Adopted
    ) -> dict[str, _Coming]:
        """Those of the group that nothing goes on about, locked until ``stack`` is left."""
        aside: dict[str, _Coming] = {}
        for arrival in group:
            await trio.lowlevel.checkpoint()
            checksum = arrival.file.checksum
            fetch = self._hold(arrival.file)
            stack.callback(fetch.reader_left)
            await fetch.until_opened()
            if checksum in aside or fetch.holding.is_here or not fetch.is_quiet:
                adopted.left.append(arrival)
                continue
            await stack.enter_async_context(fetch.holding.lock)
            given_up = fetch.holding.part
            if not fetch.set_aside():
                adopted.left.append(arrival)
                continue
            stack.push_async_callback(self._go_on, fetch)
            part = self._places.absolute(self._places.new_part(checksum))
            aside[checksum] = _Coming(arrival, part)
            if given_up:
                await self._places.disk.run(partial(_remove, self._places.absolute(given_up)))
        return aside

    async def _go_on(self, fetch: Fetch) -> None:
        try:
            row = contents.get(self._database.reader, fetch.file.checksum)
            if row is not None and row.status == "downloaded":
                disk = self._places.elsewhere if row.imported else self._places.disk
                with trio.CancelScope(shield=True):
                    await disk.run(partial(fetch.holding.take_up, row))
        finally:
            fetch.go_on()

    async def _bring(self, coming: _Coming, how: How, adopted: Adopted) -> bool:
        arrival, part = coming
        try:
            await self._places.disk.run(partial(bring, arrival, part, how))
        except BaseException as error:
            with trio.CancelScope(shield=True):
                await self._places.disk.run(partial(_remove, part))
            if isinstance(error, DiskFull) or not isinstance(error, ContentError | OSError):
                raise
            reason = error.strerror if isinstance(error, OSError) else str(error)
            adopted.refused.append((arrival, str(reason)))
            return False
        return True

    async def _publish(self, brought: list[_Coming], how: How) -> None:
        if not brought:
            return
        now = time.time_ns() // 1_000_000

        def publish(connection: apsw.Connection) -> None:
            for arrival, part in brought:
                path = self._final_path(arrival, how)
                contents.set_downloaded(
                    connection,
                    arrival.file.checksum,
                    arrival.file.size,
                    path,
                    sha256=arrival.sha256,
                    verified=arrival.verified,
                    now=now,
                    identity=arrival.identity if how in _SHARED else identity(part.stat()),
                )
            # Last before the commit, as in ``Holding.complete``.
            for arrival, part in brought if how != "use" else ():
                final = self._places.absolute(self._final_path(arrival, how))
                final.parent.mkdir(mode=0o700, exist_ok=True)
                move(part, final)

        with trio.CancelScope(shield=True):
            await self._database.write(publish)

    def _final_path(self, arrival: Arrival, how: How) -> str:
        if how == "use":
            return arrival.path.decode()
        return self._places.content_path(arrival.file.checksum)


def _size(arrival: Arrival) -> int:
    return arrival.file.size


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
