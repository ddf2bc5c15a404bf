"""What iCloud refuses while it gives the rest: noted, left out, and asked for again ever more seldom.

    ask ─┬─ given ──────────────────────────────────▶ the answer
         └─ refused ─┬─ other calls are answered ───▶ noted; None, for this run and until its time comes
                     └─ nothing is answered ────────▶ raised: that is no matter of the part

A part is a zone's list, a folder, an album's members, its changes …: whatever can be refused by itself. It
never holds back the rest (DESIGN §1, P11), and nothing that is known of it is removed meanwhile, since what no
list names is looked up before it goes. A listing that somebody asks for ends all pauses.

Where one album after the other is refused, the others are not asked for in this run, but first in the next.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from icloudfs.apple import CloudKitError, ICloud, Index, Photos, ZoneGone
from icloudfs.apple.cloudkit import ZoneError, ZoneProblem
from icloudfs.apple.records import Area, Zone
from icloudfs.apple.retry import patience_of
from icloudfs.errors import ConsentNeeded, IcloudfsError, Offline, ProtocolError, Throttled
from icloudfs.state import refusals
from icloudfs.state.database import Database
from icloudfs.state.refusals import NOT_ASKED, Part, Refusal

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE = 60_000
"""Milliseconds until a part is asked for again; doubled each time."""
LONGEST_PAUSE = 3_600_000

_PATIENCE_AGAIN = 5.0
"""Seconds that calls go on trying once a part has used up all patience in this run, and for what was refused
before: a call that is put off for ever must not hold up the run again and again."""

LIBRARIES = "libraries"
"""Of an area: which libraries changed."""
LIBRARY_NAMES = "library names"
"""Of an area: which libraries there are, where the former is refused."""
LIBRARY = "library"
"""Of a zone: all of it."""
CHANGES = "changes"
COUNTS = "counts"
LOOKUP = "lookup"
HISTORY = "history"
"""Of a zone: its whole history, where lists do not tell all (sync/foreign_members.py)."""
INDEXING = "indexing"
ALBUMS = "albums"
_ENOUGH = 5
"""Parts of one kind that are refused one after the other, until no more of them are asked for."""
_LIST, _FOLDER, _MEMBERS = "list:", "folder:", "members:"

_TOLD = {
    LIBRARIES: "what changed",
    LIBRARY_NAMES: "the list of libraries",
    LIBRARY: "all",
    CHANGES: "the changes",
    COUNTS: "the counts",
    LOOKUP: "single records",
    HISTORY: "the history of albums",
    INDEXING: "how far it is indexed",
    ALBUMS: "the list of albums",
    f"{_LIST}ALL": "the list of photos",
    f"{_LIST}BURSTS": "the list of bursts",
    f"{_LIST}HIDDEN": "the list of hidden photos",
    f"{_LIST}RECENTLY_DELETED": "the list of recently deleted photos",
}

Refused = (ProtocolError, Throttled, ConsentNeeded, Offline)
"""How a call is refused. Each of them is a matter of the part only if other calls are answered."""


def list_part(index: Index) -> str:
    return f"{_LIST}{index.name}"


def folder_part(folder: str) -> str:
    return f"{_FOLDER}{folder}"


def members_part(album: str) -> str:
    return f"{_MEMBERS}{album}"


class Refusals:
    """Of one account, for one run."""

    def __init__(self, database: Database, icloud: ICloud, clock: Callable[[], int]) -> None:
        """``clock``: milliseconds since the epoch."""
        self._database = database
        self._icloud = icloud
        self._clock = clock
        self._known = {r.part.key: r for r in refusals.refusals(database.reader)}
        self._in_this_run: set[tuple[str, str, str]] = set()
        self._out_of_patience = False
        self._in_a_row: dict[str, int] = {}
        """Refusals of one kind of part of a zone, with none that was given between them."""

    def of_area(self, area: Area) -> Parts:
        return Parts(self, area, None)

    def of_zone(self, zone: Zone) -> Parts:
        return Parts(self, zone.area, zone)

    @property
    def known_ones(self) -> list[Refusal]:
        return [self._known[key] for key in sorted(self._known)]

    def known(self, part: Part) -> Refusal | None:
        return self._known.get(part.key)

    def is_withheld(self, part: Part) -> bool:
        """Whether there is no use in asking for it now."""
        if part.key in self._in_this_run:
            return True
        known = self._known.get(part.key)
        # A pause that is longer than any was noted by a clock that went wrong.
        return known is not None and 0 < known.next_at - self._clock() <= LONGEST_PAUSE

    async def ask(
        self, part: Part, zone: Zone | None, question: Callable[[], Awaitable[T]], harmless: bool
    ) -> T | None:
        if self.is_withheld(part):
            return None
        if self._in_a_row.get(_kind(part), 0) >= _ENOUGH:
            await self.note(part, NOT_ASKED, "others of its kind are refused", harmless)
            return None
        try:
            with self.patience(part):
                answer = await question()
            self._in_a_row.pop(_kind(part), None)
            return answer
        except ZoneGone as error:
            if zone is None or await self.is_gone(zone):
                raise
            await self.note(part, error.code, error.reason, harmless)
        except Refused as error:
            await self.note_error(part, error, harmless)
        return None

    async def note_error(self, part: Part, error: IcloudfsError, harmless: bool = False) -> None:
        """The part was refused. Raises ``error`` if nothing else is answered either."""
        self._out_of_patience |= isinstance(error, Throttled | Offline)
        if not await self._icloud.answers():
            raise error
        await self.note(part, *code_and_reason(error), harmless)

    async def note(self, part: Part, code: str, reason: str, harmless: bool = False) -> None:
        before, now = self._known.get(part.key), self._clock()
        tries = 1 if before is None else before.tries + 1
        pause = min(FIRST_PAUSE << min(tries - 1, 20), LONGEST_PAUSE)
        since = now if before is None else before.since
        harmless = harmless or (before is not None and before.harmless)
        refusal = Refusal(part, code, reason[:200], since, tries, now + pause, harmless)
        is_new = before is None and not harmless and code != NOT_ASKED
        level = logging.WARNING if is_new else logging.INFO
        log.log(level, "iCloud refuses %s: %s; the rest goes on", refusal, reason or code)
        await self._keep(refusal)

    async def _keep(self, refusal: Refusal) -> None:
        self._known[refusal.part.key] = refusal
        self._in_this_run.add(refusal.part.key)
        kind = _kind(refusal.part)
        self._in_a_row[kind] = self._in_a_row.get(kind, 0) + 1
        await self._database.write(lambda connection: refusals.note(connection, refusal))

    async def settle(self, part: Part) -> None:
        """The part was given, all of it, unless it was refused in this run."""
        if part.key in self._in_this_run or self._known.pop(part.key, None) is None:
            return
        log.info("iCloud gives %s again", part)
        await self._database.write(lambda connection: refusals.settle(connection, part))

    async def excuse(self, part: Part) -> None:
        """Something else stands in for the part: it is named, and no failure."""
        known = self._known.get(part.key)
        if known is not None and not known.harmless:
            excused = Refusal(
                known.part, known.code, known.reason, known.since, known.tries, known.next_at, True
            )
            self._known[part.key] = excused
            await self._database.write(lambda connection: refusals.note(connection, excused))

    def forget_zone(self, zone: Zone) -> None:
        """It is gone; its rows are forgotten by whoever removes its row."""
        for key in [key for key in self._known if key[:2] == (zone.area, zone.name)]:
            del self._known[key]

    async def is_gone(self, zone: Zone) -> bool:
        """Whether a zone's change log says that it does not exist, and the list of libraries has it no more:
        one kind of call that goes wrong removes no library. Raises if nothing is answered."""
        photos = self._icloud.photos
        try:
            with self.patience():
                return await _log_is_gone(photos, zone) and not any(
                    there.name == zone.name for there in await photos.zones(zone.area)
                )
        except Refused as error:
            if not await self._icloud.answers():
                raise
            log.info("%s: whether it is gone cannot be said: %s", zone.name, error)
            return False

    async def is_of_one_call(self, error: IcloudfsError) -> bool:
        """Whether iCloud answers other calls, so that ``error`` says something of this one alone."""
        self._out_of_patience |= isinstance(error, Throttled | Offline)
        return await self._icloud.answers()

    @contextmanager
    def patience(self, part: Part | None = None) -> Iterator[None]:
        """Within it, calls of this task go on trying as long as it is worth while."""
        if self._out_of_patience or (part is not None and part.key in self._known):
            with patience_of(_PATIENCE_AGAIN):
                yield
        else:
            yield


class Parts:
    """The parts of one zone, or of an area."""

    def __init__(self, refusals: Refusals, area: Area, zone: Zone | None) -> None:
        self._refusals = refusals
        self._area = area
        self._zone = zone

    async def ask(
        self,
        name: str,
        question: Callable[[], Awaitable[T]],
        *,
        told: str = "",
        harmless: bool = False,
    ) -> T | None:
        """What ``question`` answers; None if the part is refused, or was and its time has not come.

        ``told``: the part in a person's words. Raises what ``question`` does if nothing else is answered
        either, and ZoneGone if the zone's change log confirms it.
        """
        part = self._part(name, told)
        return await self._refusals.ask(part, self._zone, question, harmless)

    def is_withheld(self, name: str) -> bool:
        """Whether there is no use in asking for it now."""
        return self._refusals.is_withheld(self._part(name))

    def is_refused(self, name: str) -> bool:
        """Whether it is noted as refused, now or earlier."""
        return self._refusals.known(self._part(name)) is not None

    def due(self) -> list[Refusal]:
        """What was refused earlier and may be asked for now; what was not even asked for comes first."""
        zone = self._zone.name if self._zone is not None else ""
        found = [
            refusal
            for refusal in self._refusals.known_ones
            if refusal.part.key[:2] == (self._area, zone)
            and not self._refusals.is_withheld(refusal.part)
        ]
        return sorted(found, key=lambda refusal: refusal.code != NOT_ASKED)

    async def note(self, name: str, error: ZoneError, *, told: str = "") -> None:
        """A zone's own error is a refusal of this part; ``told`` as for ``ask``."""
        await self._refusals.note(self._part(name, told), error.code, error.reason)

    async def settle(self, name: str) -> None:
        """It was given, all of it, unless it was refused in this run."""
        await self._refusals.settle(self._part(name))

    async def excuse(self, name: str) -> None:
        """Something else stands in for it: it is named, and no failure."""
        await self._refusals.excuse(self._part(name))

    def _part(self, name: str, told: str = "") -> Part:
        zone = self._zone.name if self._zone is not None else ""
        return Part(self._area, zone, name, told or _TOLD.get(name, ""))


async def _log_is_gone(photos: Photos, zone: Zone) -> bool:
    try:
        (page,) = await photos.zone_changes(zone.area, [(zone, "")], ())
    except ZoneGone:
        return True
    return page.error is not None and page.error.problem is ZoneProblem.ZONE_GONE


def _kind(part: Part) -> str:
    return f"{part.area}/{part.zone}/{part.part.partition(':')[0]}"


def code_and_reason(error: IcloudfsError) -> tuple[str, str]:
    """What iCloud said; a status, or a word of ours, where it gave no code."""
    if isinstance(error, CloudKitError):
        return error.code or f"HTTP {error.status}", error.reason
    match error:
        case Throttled():
            return "BUSY", str(error)
        case Offline():
            return "NO_ANSWER", str(error)
        case ConsentNeeded():
            return "CONSENT", str(error)
    return "UNREADABLE", str(error)


_PASSING = ("BUSY", "NO_ANSWER", "CONSENT", "UNREADABLE", "HTTP 5")


def may_pass(refusal: Refusal) -> bool:
    """Whether the list of an area's libraries was refused for a reason that says nothing of the area: there
    may be libraries in it, though this account was never told of one."""
    return refusal.part.part == LIBRARY_NAMES and refusal.code.startswith(_PASSING)


def album_of(part: str) -> str | None:
    """The album of a part that is an album's members."""
    return part.removeprefix(_MEMBERS) if part.startswith(_MEMBERS) else None


def folder_of(part: str) -> str | None:
    """The folder of a part that is what is in a folder."""
    return part.removeprefix(_FOLDER) if part.startswith(_FOLDER) else None


def index_of(part: str) -> Index | None:
    """The index of a part that is a list of photos."""
    return Index[part.removeprefix(_LIST)] if part.startswith(_LIST) else None
