"""One run: find the zones, list those that need it, follow the changes of the others.

What costs nothing when nothing changed: one ``changes/database`` call an area. The token of that call is
stored only when every change it announced has been applied, so a run that is cut off is simply repeated.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Set
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import apsw
import trio

from icloudfs.apple import (
    CloudKitError,
    ICloud,
    Photos,
    ZoneError,
    ZoneGone,
    ZoneProblem,
    is_library,
)
from icloudfs.apple.cloudkit import MOST_ZONES
from icloudfs.apple.course import Course
from icloudfs.apple.decode import UNREADABLE
from icloudfs.apple.records import Area, Zone
from icloudfs.apple.wire import PRIMARY_ZONE
from icloudfs.errors import IcloudfsError, NoPhotos, ProtocolError, one_error
from icloudfs.progress import Progress
from icloudfs.state import catalogue, completeness, metadata, refusals, runs
from icloudfs.state.catalogue import StoredZone, Touched
from icloudfs.state.database import Database
from icloudfs.state.runs import Figures
from icloudfs.sync import indexing
from icloudfs.sync.books import Books
from icloudfs.sync.changes import Position, follow, is_gone, needs_listing
from icloudfs.sync.listing import Listing
from icloudfs.sync.members import complete_albums
from icloudfs.sync.owed import ask_for_owed
from icloudfs.sync.pages import Tree, place
from icloudfs.sync.refusals import CHANGES, LIBRARIES, LIBRARY, LIBRARY_NAMES, may_pass
from icloudfs.tree.changes import Change
from icloudfs.tree.settling import no_longer_recent

log = logging.getLogger(__name__)

_AREAS: tuple[Area, ...] = ("private", "shared")
_REMOVED_A_TRANSACTION = 500
_MOST_PAGES = 1000
"""Of what changed in an area."""
MOST_LIBRARIES = 100
"""Of one area; an account has one of its own, and perhaps a shared one."""
_ALL_ZONES_EVERY = 86_400_000
"""Milliseconds between two looks at all zones of an area, changed or not."""


class Sync:
    """Makes the database equal to iCloud; any number of runs, one at a time."""

    def __init__(
        self,
        database: Database,
        icloud: ICloud,
        tree: Tree,
        *,
        connections: int,
        publish: Callable[[list[Change]], None] = lambda _: None,
        report: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        """``publish`` is told what changed in the tree, after each transaction; ``report`` how far
        a run is. Both are called in the event loop and must return at once."""
        self._database = database
        self._icloud = icloud
        self._tree = tree
        self._connections = connections
        self._publish = publish
        self._report = report
        self._running = trio.Lock()

    async def run(self, *, relist: bool = False, by_hand: bool = False) -> Figures:
        """One run, with its row in ``sync_runs``. ``relist``: every library anew, whatever its token.
        ``by_hand``: a person wants it, and what was refused is asked for again at once.

        Raises what the photo service raises. Whatever was reached by then is kept.
        """
        async with self._running:
            run = await self._database.write(lambda c: runs.begin(c, time.time()))
            if relist or by_hand:
                await self._database.write(partial(refusals.ask_at_once, harmless=relist))
            books = self._books()
            books.figures.run = run
            calls, received = self._icloud.meter.calls, self._icloud.meter.received

            def count() -> None:
                books.figures.calls = self._icloud.meter.calls - calls
                books.figures.received = self._icloud.meter.received - received

            try:
                if relist:
                    await self._relist_all()
                await self._run(books)
            except BaseException as error:
                count()
                message = str(error) if isinstance(error, IcloudfsError) else type(error).__name__
                # What went wrong first is what is told, even if this cannot be noted any more.
                with trio.CancelScope(shield=True), suppress(IcloudfsError):
                    await self._database.write(
                        lambda c: runs.interrupt(c, run, books.figures, message)
                    )
                raise
            count()
            await self._complete(books, run)
            if "listing" in books.figures.kind:
                # Minutes of work for iCloud and for this computer, which no power cut is to undo.
                await self._database.settle()
            return books.figures

    async def _complete(self, books: Books, run: int) -> None:
        """Close the run's row: with what was refused, which does not make it less complete than it can be."""
        refused = [refusal for refusal in books.refusals.known_ones if not refusal.harmless]
        books.figures.refused = [str(refusal) for refusal in refused]

        def transaction(connection: apsw.Connection) -> None:
            books.figures.owed = catalogue.owed_count(connection)
            runs.complete(connection, run, books.figures, time.time())

        await self._database.write(transaction)

    def _books(self) -> Books:
        return Books(
            self._database,
            self._icloud,
            self._tree,
            size_of=self._icloud.size_of,
            connections=self._connections,
            publish=self._publish,
            report=self._report,
        )

    async def _run(self, books: Books) -> None:
        await self._list_what_is_indexed_now(books)
        tokens = [await self._look(books, area) for area in _AREAS]
        if not catalogue.zones(self._database.reader):
            await demand_photos(books.photos)
            return  # an answer that was short: the next run looks at all zones
        for zone in catalogue.zones(self._database.reader):
            if zone.listed and not zone.relisting:
                await Listing(books, zone).ask_again()
            await ask_for_owed(books, zone)
            await complete_albums(books, zone)
        await self._note_what_is_complete(books)
        await self._forget_the_past(books)

        def keep(connection: apsw.Connection) -> None:
            for area, token in zip(_AREAS, tokens, strict=True):
                if token:
                    metadata.put(connection, metadata.database_token_key(area), token)

        if any(
            token
            and token != metadata.get(self._database.reader, metadata.database_token_key(area))
            for area, token in zip(_AREAS, tokens, strict=True)
        ):
            await self._database.write(keep)

    async def _note_what_is_complete(self, books: Books) -> None:
        """That nothing is still to be heard of: of each library, and whether there are others."""
        whole = [
            zone.id
            for zone in catalogue.zones(self._database.reader)
            if zone.listed
            and not zone.relisting
            and not books.refusals.of_zone(zone.zone).is_refused(CHANGES)
            and metadata.get(self._database.reader, metadata.sync_token_key(zone.zone.name))
        ]
        heard_of_all = not any(
            may_pass(refusal) for refusal in books.refusals.known_ones if not refusal.part.zone
        )
        if completeness.is_noted(self._database.reader, whole, heard_of_all=heard_of_all):
            return
        await self._database.write(lambda c: completeness.note(c, whole, heard_of_all=heard_of_all))

    # -- one area ------------------------------------------------------------------------------

    async def _look(self, books: Books, area: Area) -> str:
        """Bring an area up to date. Returns its new token; empty if it has none that stands for everything.

        What the token announced and was refused is noted as refused, and asked for again for that.
        """
        answer = await self._changed_zones(books, area)
        if answer is None:
            return ""
        doubtful = set()
        for zone in answer.gone:
            if self._stored(zone) is None:
                continue
            if await books.refusals.is_gone(zone):
                await self._remove_zone(books, zone)
            else:
                doubtful.add(zone.name)
        stored = await self._stored_zones(books, area, answer, doubtful)
        to_list = [zone for zone in stored if not zone.listed or zone.relisting]
        await self._follow(books, [z for z in stored if z not in to_list], to_list)
        await self._list(books, to_list)
        return answer.token

    async def _changed_zones(self, books: Books, area: Area) -> _Changed | None:
        """What changed in an area since its token; None if this account was never given the area.

        Where iCloud refuses to say what changed, or names not all of it, every library that is known is
        looked at.
        """
        parts = books.refusals.of_area(area)
        known = any(z.zone.area == area for z in catalogue.zones(self._database.reader))
        key = metadata.database_token_key(area)
        token = metadata.get(self._database.reader, key) or ""
        never_given = area == "shared" and not known and not token
        look = partial(self._since, books, area, token)
        answer = await parts.ask(LIBRARIES, look, harmless=never_given)
        if answer is not None and answer.whole:
            await parts.settle(LIBRARIES)
            await parts.settle(LIBRARY_NAMES)
            return answer
        if answer is not None:
            await parts.note(LIBRARIES, _NAMELESS)
        names = await parts.ask(
            LIBRARY_NAMES, partial(_libraries, books, area), harmless=never_given
        )
        await parts.settle(LIBRARY_NAMES)
        if never_given and not names:
            return None
        found, gone = (answer.zones, answer.gone) if answer is not None else ([], [])
        libraries = {zone.name: zone for zone in (*found, *(names or ()))}
        return _Changed(list(libraries.values()), gone, "", complete=True)

    async def _since(self, books: Books, area: Area, token: str) -> _Changed:
        """What changed since a token; or everything, where that is refused and once a day."""
        if token and not self._is_time_for_all(area):
            try:
                return await self._all_pages(books, area, token)
            except CloudKitError as error:
                log.warning(
                    "the %s database's token is refused (%s); looking at all zones", area, error
                )
        answer = await self._all_pages(books, area, "")
        now = str(self._tree.clock())
        await self._database.write(lambda c: metadata.put(c, metadata.all_zones_key(area), now))
        if answer.zones:
            # A look at everything counts when a second one has been added to it: what the first left out
            # would be heard of again only when it changes.
            second = await self._all_pages(books, area, "")
            named = {zone.name: zone for zone in (*second.zones, *answer.zones)}
            whole = answer.whole and second.whole
            token = answer.token if whole else ""
            answer = answer._replace(zones=list(named.values()), token=token, whole=whole)
        return answer

    def _is_time_for_all(self, area: Area) -> bool:
        """An answer that wrongly says that nothing changed cannot be told from the truth, and the token
        moves on: what it kept back, such as that a library is gone, is found by this."""
        looked = metadata.get(self._database.reader, metadata.all_zones_key(area))
        return looked is None or abs(self._tree.clock() - int(looked)) >= _ALL_ZONES_EVERY

    async def _all_pages(self, books: Books, area: Area, since: str) -> _Changed:
        changed: dict[str, Zone] = {}
        gone: dict[str, Zone] = {}
        token, whole = since, True
        course = Course(since, most=_MOST_PAGES)
        while True:
            async with books.requests:
                answer = await books.photos.database_changes(area, token)
            for found in answer.zones:
                changed.pop(found.zone.name, None)
                gone.pop(found.zone.name, None)
                (gone if found.deleted else changed)[found.zone.name] = found.zone
            whole = whole and answer.whole
            if not answer.more_coming:
                break
            trouble = course.trouble(answer.token, [z.zone.name for z in answer.zones])
            if trouble or len(changed) + len(gone) > MOST_ZONES:
                raise ProtocolError(f"What changed in the {area} area does not end ({trouble}).")
            token = answer.token
        libraries = [zone for zone in changed.values() if is_library(zone.name)]
        if len(libraries) > MOST_LIBRARIES:
            raise ProtocolError(f"iCloud names {len(libraries)} libraries, which cannot be meant.")
        _demand_other_names(books, area, libraries)
        return _Changed(
            libraries,
            list(gone.values()),
            answer.token if whole else "",
            complete=not since,
            whole=whole,
        )

    async def _stored_zones(
        self, books: Books, area: Area, answer: _Changed, doubtful: Set[str]
    ) -> list[StoredZone]:
        """The rows of the changed zones, of those with a listing still to be done, and of those whose changes
        were refused until now.

        ``doubtful``: names of zones that the answer alone says are gone, which it does once. Their changes
        are asked for: they are given, or refused and asked for again.

        An answer to no token names every zone that there is. One that it leaves out is asked for by
        itself: iCloud then says whether it is gone, and an answer that is short removes no library.
        """
        changed = answer.zones

        def transaction(connection: apsw.Connection) -> list[StoredZone]:
            known = {(z.zone.area, z.zone.name) for z in catalogue.zones(connection)}
            for zone in sorted(changed, key=lambda zone: (zone.name != PRIMARY_ZONE, zone.name)):
                if (zone.area, zone.name) not in known:
                    catalogue.add_zone(connection, zone)
            return catalogue.zones(connection)

        names = doubtful | {zone.name for zone in changed}
        stored = await self._database.write(transaction)
        return [
            zone
            for zone in stored
            if zone.zone.area == area
            and (
                answer.complete
                or zone.zone.name in names
                or not zone.listed
                or zone.relisting
                or books.refusals.of_zone(zone.zone).is_refused(CHANGES)
            )
        ]

    async def _follow(
        self, books: Books, zones: list[StoredZone], to_list: list[StoredZone]
    ) -> None:
        """Apply changes; zones whose token is refused join ``to_list``."""
        reader = self._database.reader
        positions = []
        for zone in zones:
            key = metadata.sync_token_key(zone.zone.name)
            token = metadata.get(reader, key)
            if token:
                positions.append(Position(zone, token, key))
            elif not books.refusals.of_zone(zone.zone).is_withheld(CHANGES):
                to_list.append(await self._relist(zone))
        if not positions:
            return
        books.figures.add_kind("changes")
        errors = await follow(books, positions)
        for zone in zones:
            error = errors.get(zone.id)
            if error is None:
                continue
            if is_gone(error):
                await self._remove_zone(books, zone.zone)
            elif needs_listing(error):
                log.warning(
                    "%s: iCloud does not accept the sync token (%s); listing the library again",
                    zone.zone.name,
                    error.reason or error.code,
                )
                to_list.append(await self._relist(zone))

    async def _list_what_is_indexed_now(self, books: Books) -> None:
        """Libraries whose indexes were not finished when they were listed are listed once more when they
        are: the same run finds them as due."""
        for zone in catalogue.zones(self._database.reader):
            if zone.indexing and zone.listed and await indexing.has_finished(books, zone):
                log.info("%s: iCloud has indexed it; listing it once more", zone.zone.name)
                await self._relist(zone, indexed=True)

    async def _relist_all(self) -> None:
        for zone in catalogue.zones(self._database.reader):
            if zone.listed and not zone.relisting:
                await self._relist(zone)

    async def _relist(self, zone: StoredZone, *, indexed: bool = False) -> StoredZone:
        """Have a library listed anew. ``indexed``: Apple has finished its indexes, and lists are to be
        believed."""

        def transaction(connection: apsw.Connection) -> StoredZone:
            if indexed:
                catalogue.note_indexing(connection, zone.id, "", None)
            catalogue.begin_relisting(connection, zone.id)
            metadata.remove_token(connection, metadata.sync_token_key(zone.zone.name))
            metadata.forget_listing(connection, zone.zone.name)
            return catalogue.zone_by_id(connection, zone.id)

        return await self._database.write(transaction)

    async def _list(self, books: Books, zones: Iterable[StoredZone]) -> None:
        # One after the other: within a zone all connections are busy anyway, and photos of the
        # personal library, which comes first, are older in rank than those of a shared one.
        for zone in zones:
            books.figures.add_kind("listing")
            parts = books.refusals.of_zone(zone.zone)
            try:
                if await parts.ask(LIBRARY, partial(_list_one, books, zone)):
                    await parts.settle(LIBRARY)
            except ZoneGone:
                await self._remove_zone(books, zone.zone)

    def _stored(self, zone: Zone) -> StoredZone | None:
        """The row of a zone, if it has one."""
        return next(
            (
                stored
                for stored in catalogue.zones(self._database.reader)
                if (stored.zone.area, stored.zone.name) == (zone.area, zone.name)
            ),
            None,
        )

    async def _remove_zone(self, books: Books, zone: Zone) -> None:
        """A library that the account has left: its photos go, then its row."""
        stored = self._stored(zone)
        if stored is None:
            return
        log.info("the library %s is gone", zone.name)
        books.refusals.forget_zone(zone)

        def some(connection: apsw.Connection) -> tuple[bool, list[Change]]:
            touched = Touched()
            assets = catalogue.asset_names(connection, stored.id, _REMOVED_A_TRANSACTION)
            for name in assets:
                catalogue.remove_asset(connection, stored.id, name, touched)
            albums = catalogue.album_names(connection, stored.id, _REMOVED_A_TRANSACTION)
            for name in albums:
                catalogue.remove_album(connection, stored.id, name, touched)
            return bool(assets or albums), place(connection, self._tree, stored, touched)

        more = True
        while more:
            more, _ = await self._database.write(some, lambda done: books.publish(done[1]))

        def last(connection: apsw.Connection) -> None:
            catalogue.remove_zone(connection, stored.id)
            refusals.forget_zone(connection, zone.area, zone.name)
            metadata.remove_token(connection, metadata.sync_token_key(zone.name))
            metadata.forget_listing(connection, zone.name)
            metadata.remove_token(connection, metadata.relations_token_key(zone.name))

        await self._database.write(last)

    # -- what is left --------------------------------------------------------------------------

    async def _forget_the_past(self, books: Books) -> None:
        """Photos leave ``Recent`` because time passes, not because a record changes."""
        zones = catalogue.zones(self._database.reader)
        past = partial(no_longer_recent, now=self._tree.clock())
        old = await self._database.read(past) if zones else []
        for start in range(0, len(old), _REMOVED_A_TRANSACTION):
            touched = Touched(assets=dict.fromkeys(old[start : start + _REMOVED_A_TRANSACTION]))
            await self._database.write(
                partial(place, tree=self._tree, zone=zones[0], touched=touched), books.publish
            )


async def _list_one(books: Books, zone: StoredZone) -> bool:
    with one_error():
        return await Listing(books, zone).run()


async def _libraries(books: Books, area: Area) -> tuple[Zone, ...]:
    async with books.requests:
        found = await books.photos.zones(area)
    _demand_other_names(books, area, found)
    return found


def _demand_other_names(books: Books, area: Area, libraries: Iterable[Zone]) -> None:
    """A library is known by its name, and so is the token of its changes: one of the same name in the other
    area would take its place, and its changes would be passed over. Raises ProtocolError."""
    known = {z.zone.name for z in catalogue.zones(books.database.reader) if z.zone.area != area}
    for library in libraries:
        if library.name in known:
            raise ProtocolError(f"iCloud names {library.name} in two areas, which cannot be meant.")


_NAMELESS = ZoneError(ZoneProblem.TRANSIENT, UNREADABLE, "a library came whose name cannot be read")


class _Changed(NamedTuple):
    """What ``changes/database`` says of an area."""

    zones: list[Zone]
    """Libraries that are new or changed."""
    gone: list[Zone]
    token: str
    complete: bool
    """Every zone that there is was named, not only what changed."""
    whole: bool = True
    """No zone came without a name."""


async def demand_photos(photos: Photos) -> None:
    """Raises NoPhotos if iCloud names no library in any area, which two kinds of call must say."""
    for area in _AREAS:
        if await photos.zones(area):
            return
    raise NoPhotos("This account has no iCloud Photos: there is no library in it.")


def photos_known(connection: apsw.Connection) -> bool:
    """Whether any library was ever listed to its end."""
    return any(zone.listed for zone in catalogue.zones(connection))
