"""Fresh download URLs: one look-up for all who ask at the same time.

A URL lives a quarter of an hour (facts/cloudkit.md §1.12), so it is kept in memory for five minutes and
never on disk. A look-up belongs to the cache, not to the reader that caused it: a reader
that goes away leaves it to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import trio
from cachetools import TTLCache

from icloudfs.apple.decode import NOT_ANSWERED
from icloudfs.apple.records import Asset, Master, Record, Refused, Resource, Zone
from icloudfs.apple.wire import RETRYABLE_CODES
from icloudfs.aside import aside
from icloudfs.cache.outcome import Outcome
from icloudfs.cache.source import NAMES_A_LOOKUP, Source
from icloudfs.errors import ContentUnavailable, Offline, Throttled
from icloudfs.tree.directory import File

FRESH = 300.0
"""Seconds that a URL is trusted."""

COLLECT = 0.004
"""Seconds that a look-up waits for more names at most: as long as somebody still has something to say."""

NEARBY = NAMES_A_LOOKUP // 2
"""Files before and behind one that was asked for, whose URLs are looked up as well: in one call."""

AFTER = 0.05
"""Seconds from one look-up to that of the files around it: what was asked for goes first. To ask for fifty
records and to read the answer takes as long as to get the first bytes of a photo."""

_WORTH_A_CALL = 10
"""Names that are not known yet."""

_TURNS = 12
"""Of the event loop, in which nobody asks for a look-up: a read comes from the kernel to here in four."""

_REMEMBERED = 4096

Resources = Mapping[str, Resource]
"""What a record's look-up gave, by wire prefix."""

_Key = tuple[Zone, str]


class FreshURLs:
    """Answers ``url`` for any file, in the nursery of the cache.

    Invariant: a name is in ``_asked`` from the moment somebody wants it until its look-up has ended,
    and in exactly one batch, so no record is ever looked up twice at the same time.
    """

    def __init__(
        self,
        source: Source,
        nursery: trio.Nursery,
        timeout: float,
        nearby: Callable[[File], Iterable[File]] = lambda _: (),
    ) -> None:
        """``nearby`` tells which files lie around one; called inline."""
        self._source = source
        self._nursery = nursery
        self._timeout = timeout
        self._nearby = nearby
        self._fresh: TTLCache[_Key, Resources] = TTLCache(_REMEMBERED, FRESH, trio.current_time)
        self._asked: dict[_Key, Outcome[Resources]] = {}
        self._gathering: dict[Zone, list[str]] = {}
        self._will_look_around = False

    async def url(self, file: File) -> str:
        """Where to download ``file``.

        Raises ContentUnavailable if iCloud has no such content now, and what a look-up raises.
        """
        if (known := self._known(file)) is not None:
            return _url(known, file)
        url = _url(await self._resources(file), file)
        if not self._will_look_around:
            self._will_look_around = True
            self._nursery.start_soon(aside, self._look_around, file)
        return url

    async def beside(self, file: File) -> Resources:
        """Everything in the record that ``file`` is in, all of it made of the content that ``file`` has.

        Raises ContentUnavailable if iCloud has no such content now, and what a look-up raises.
        """
        resources = await self._resources(file)
        _url(resources, file)
        return resources

    async def _resources(self, file: File) -> Resources:
        known = self._known(file)
        return known if known is not None else await self._ask((file.zone, file.record)).wait()

    def _known(self, file: File) -> Resources | None:
        resources = self._fresh.get((file.zone, file.record))
        # What was looked up before an edit tells nothing of the content that the file has since.
        return None if resources is None or _content(resources, file) is None else resources

    def forget(self, file: File) -> None:
        """The URL of ``file`` did not work; the next one is looked up."""
        self._fresh.pop((file.zone, file.record), None)

    def _ask(self, key: _Key) -> Outcome[Resources]:
        if (outcome := self._asked.get(key)) is not None:
            return outcome
        outcome = self._asked[key] = Outcome()
        zone, name = key
        if (gathering := self._gathering.get(zone)) is not None:
            gathering.append(name)
        else:
            self._gathering[zone] = [name]
            self._nursery.start_soon(aside, self._look_up_soon, zone)
        return outcome

    async def _look_around(self, file: File) -> None:
        await trio.sleep(AFTER)
        self._will_look_around = False
        keys = dict.fromkeys((other.zone, other.record) for other in self._nearby(file))
        unknown = [
            key
            for key in keys
            if key[0] == file.zone and key not in self._fresh and key not in self._asked
        ]
        if len(unknown) >= _WORTH_A_CALL:
            self._asked |= {key: Outcome() for key in unknown}
            await self._look_up(file.zone, [name for _, name in unknown])

    async def _look_up_soon(self, zone: Zone) -> None:
        await _until_no_more_come(self._gathering[zone])
        names = self._gathering.pop(zone)
        for first in range(0, len(names), NAMES_A_LOOKUP):
            several = names[first : first + NAMES_A_LOOKUP]
            self._nursery.start_soon(aside, self._look_up, zone, several)

    async def _look_up(self, zone: Zone, names: list[str]) -> None:
        failure: Exception = Offline("The look-up was stopped.")
        records: dict[str, Record] | None = None
        try:
            with trio.move_on_after(self._timeout) as scope:
                records = _by_name(await self._source.lookup(zone, names))
            if scope.cancelled_caught:
                failure = Offline(f"No answer to a look-up within {self._timeout:g} seconds.")
        except Exception as error:
            failure = error
        finally:
            for name in names:
                outcome = self._asked.pop((zone, name))
                if records is None:
                    outcome.fail(failure)
                    continue
                try:
                    resources = _resources(records.get(name), name)
                except Exception as error:
                    outcome.fail(error)
                else:
                    self._fresh[zone, name] = resources
                    outcome.succeed(resources)


async def _until_no_more_come(names: list[str]) -> None:
    """Hear whoever is at the door already. A reader by itself waits for nobody: it is done in half a
    millisecond."""
    known, silent = 0, 0
    with trio.move_on_after(COLLECT):
        while silent < _TURNS:
            silent = silent + 1 if len(names) == known else 0
            known = len(names)
            await trio.lowlevel.checkpoint()


def _by_name(records: Iterable[Record]) -> dict[str, Record]:
    return {record.name: record for record in records}


def _resources(record: Record | None, name: str) -> Resources:
    if isinstance(record, Master | Asset):
        return record.resources
    if isinstance(record, Refused):
        told = f"{record.code} {record.reason}".strip()
        if record.code in RETRYABLE_CODES or record.code == NOT_ANSWERED:
            raise Throttled(f"iCloud put off the look-up of {name}: {told}.")
        raise ContentUnavailable(f"iCloud refused the look-up of {name}: {told}.")
    raise ContentUnavailable(f"iCloud has no record {name} any more.")


def _content(resources: Resources, file: File) -> Resource | None:
    """What the record has of the content, by its checksum: under another prefix it is the same bytes, and a
    preview may be under any."""
    first = resources.get(file.prefix)
    candidates = resources.values() if first is None else (first, *resources.values())
    return next((found for found in candidates if found.checksum == file.checksum), None)


def _url(resources: Resources, file: File) -> str:
    found = _content(resources, file)
    if found is not None and found.url:
        return found.url
    instead = resources.get(file.prefix)
    if found is None and instead is not None and instead.url:
        raise ContentUnavailable(
            f"The content changed in iCloud: expected checksum {file.checksum},"
            f" found {instead.checksum}; the next sync will show it."
        )
    raise ContentUnavailable(f"iCloud gives no download URL for {file.record}.")
