"""Small pictures of photos and videos, which Apple made: what is shown of a content without reading it.

Every record holds one or two JPEGs beside its content: that of the master shows what was taken, that of the
asset what an edit made of it. They are kept by the checksum of the content that they show, so albums and
duplicates share one, and an edit asks for another one by itself. A live photo and its video are two contents
that one JPEG shows: whoever asks for both downloads it once.

No byte of a content is fetched for them, and readers of contents never wait for them: they have few
connections, and an idea of the network of their own.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import trio
from cachetools import LRUCache, TTLCache

from icloudfs.apple.records import Resource
from icloudfs.aside import aside
from icloudfs.cache.disk import Disk
from icloudfs.cache.outcome import Outcome
from icloudfs.cache.places import file_name
from icloudfs.cache.reachability import Reachability
from icloudfs.cache.shelf import Shelf
from icloudfs.cache.source import ExpiredURL, Interrupted, Source
from icloudfs.cache.turns import Turns
from icloudfs.cache.urls import FreshURLs, Resources
from icloudfs.cache.verify import digest_of, judge
from icloudfs.errors import (
    ContentError,
    ContentMismatch,
    ContentUnavailable,
    IcloudfsError,
    Offline,
    ProtocolError,
    Throttled,
)
from icloudfs.tree.directory import File

log = logging.getLogger(__name__)

MOST = 20_000
MOST_BYTES = 512 << 20
"""How many are kept, and how many bytes: Apple's are of 10 to 40 KB."""

CONNECTIONS = 8
"""At a time, of the 64 that there are."""

_PREFIXES = ("resJPEGThumb", "resJPEGMed")
"""The smallest first: it is larger than the 256 pixels that file managers ask for."""

LARGEST = 8 << 20
"""Bytes; a record that announces more for a small picture is mistaken."""

_REMEMBERED = 4096
_MISSING_FOR = 600.0
"""Seconds that a content is known to have no small picture."""

_TRIES = 3
"""A URL may have expired, and a connection may break off."""

_SLOW_DOWN = 60.0
"""Seconds to ask nothing when Apple did not say for how long."""

_JPEG = b"\xff\xd8"

_LAST = 64
_LAST_UP_TO = 64 << 10
"""How many that came last are at hand for another content that they show, and the bytes of the largest."""


@dataclass(frozen=True)
class Figures:
    """What is kept of them here."""

    count: int
    bytes: int


class Thumbnails:
    """Answers ``of`` for any file, in the nursery of the cache. One download a content at a time."""

    def __init__(
        self,
        shelf: Shelf,
        disk: Disk,
        source: Source,
        urls: FreshURLs,
        nursery: trio.Nursery,
        timeout: float,
    ) -> None:
        """``disk``: that of the ``shelf``."""
        self._shelf = shelf
        self._disk = disk
        self._source = source
        self._urls = urls
        self._nursery = nursery
        self._timeout = timeout
        self._reachability = Reachability()
        self._turns = Turns(CONNECTIONS)
        self._under_way: dict[str, Outcome[bytes]] = {}
        """By the checksum of the content that is shown."""
        self._coming: dict[str, Outcome[bytes]] = {}
        self._last: LRUCache[str, bytes] = LRUCache(_LAST)
        """Both by the checksum of the small picture itself."""
        self._missing: TTLCache[str, str] = TTLCache(_REMEMBERED, _MISSING_FOR, trio.current_time)
        self._shelf_is_broken = False
        self._looked_through = trio.Event()
        nursery.start_soon(aside, self._look_through)

    async def _look_through(self) -> None:
        try:
            with suppress(OSError):  # whoever asks meets it again
                await self._disk.run(self._shelf.load)
        finally:
            self._looked_through.set()

    async def of(self, file: File) -> bytes:
        """Apple's small JPEG of what ``file`` shows.

        Raises ContentUnavailable if there is none, ContentMismatch, and Offline, Throttled or LoginNeeded
        if iCloud cannot be asked: at once while that is known.
        """
        # So that a whole folder need not go through threads one by one, and is one look-up.
        await self._looked_through.wait()
        if not self._shelf.lacks(file_name(file.checksum)):
            kept = await self._disk.ask(partial(self._kept, file.checksum), self._timeout)
            if kept is not None:
                return kept
        return await self._brought(file)

    def _kept(self, checksum: str) -> bytes | None:
        try:
            return self._shelf.get(file_name(checksum))
        except OSError as error:
            log.info("a small picture cannot be read: %s", error.strerror)
            return None

    async def _brought(self, file: File) -> bytes:
        if (reason := self._missing.get(file.checksum)) is not None:
            raise ContentUnavailable(reason)
        patience = self._reachability.patience()
        await self._reachability.wait_until_welcome(trio.current_time())
        outcome = self._under_way.get(file.checksum)
        if outcome is None:
            outcome = self._under_way[file.checksum] = Outcome()
            self._nursery.start_soon(aside, self._bring, file, outcome)
        else:
            self._turns.hasten(file.checksum)
        with trio.move_on_after(patience):
            return await outcome.wait()
        raise self._reachability.gave_up()

    async def _bring(self, file: File, outcome: Outcome[bytes]) -> None:
        try:
            # Whoever waits hears of it when it is known what it means.
            await outcome.bring(partial(self._learned, file))
        except IcloudfsError:
            pass
        finally:
            del self._under_way[file.checksum]

    async def _learned(self, file: File) -> bytes:
        try:
            content = await self._fetch(file)
        except IcloudfsError as error:
            self._learn_from(error, file.checksum)
            raise
        except Exception as error:
            log.exception("%s: its small picture could not be had", file.checksum)
            raise ContentError(f"The small picture could not be had: {error!r}") from error
        self._reachability.succeeded()
        return content

    def _learn_from(self, error: IcloudfsError, checksum: str) -> None:
        match error:
            case Offline():
                self._reachability.failed(error)
            case Throttled():
                self._reachability.slow_down(error.retry_after or _SLOW_DOWN)
            case ContentError():
                self._missing[checksum] = str(error)

    async def _fetch(self, file: File) -> bytes:
        for tries in range(1, _TRIES + 1):
            resource = _smallest(await self._urls.beside(file), file)
            try:
                content = await self._picture(resource, file.checksum)
                await self._disk.run(partial(self._keep, file.checksum, content))
                return content
            except (ExpiredURL, Interrupted):
                self._urls.forget(file)
                if tries == _TRIES:
                    raise
            except (ContentError, ProtocolError):
                self._urls.forget(file)
                raise
        raise AssertionError("the last try returns or raises")

    async def _picture(self, resource: Resource, shown: str) -> bytes:
        """The small picture itself, verified: one download, whatever it shows. Raises as that."""
        if (last := self._last.get(resource.checksum)) is not None:
            return last
        if (coming := self._coming.get(resource.checksum)) is not None:
            return await coming.wait()
        outcome = self._coming[resource.checksum] = Outcome()
        try:
            content = await outcome.bring(partial(self._downloaded, resource, shown))
        finally:
            del self._coming[resource.checksum]
        if len(content) <= _LAST_UP_TO:
            self._last[resource.checksum] = content
        return content

    async def _downloaded(self, resource: Resource, shown: str) -> bytes:
        async with self._turns.turn(shown):
            content = await self._download(resource)
        await trio.to_thread.run_sync(_verify, resource, content)
        return content

    async def _download(self, resource: Resource) -> bytes:
        parts: list[bytes] = []
        try:
            with trio.fail_after(self._timeout):
                async with self._source.download(
                    resource.url, 0, resource.size, size=resource.size
                ) as download:
                    parts += [chunk async for chunk in download.chunks()]
        except trio.TooSlowError:
            raise Offline(f"No small picture came within {self._timeout:g} seconds.") from None
        return b"".join(parts)

    def _keep(self, checksum: str, content: bytes) -> None:
        """A disk that does not take it costs nothing but a download next time."""
        try:
            self._shelf.put(file_name(checksum), content)
            self._shelf_is_broken = False
        except OSError as error:
            if not self._shelf_is_broken:
                log.warning("small pictures cannot be kept: %s", error.strerror)
            self._shelf_is_broken = True


def _verify(resource: Resource, content: bytes) -> None:
    """Raises ContentMismatch."""
    judge(resource.checksum, resource.size, digest_of(content))
    if not content.startswith(_JPEG):
        raise ContentMismatch("Expected a JPEG for the small picture, found something else.")


def _smallest(resources: Resources, file: File) -> Resource:
    for prefix in _PREFIXES:
        resource = resources.get(prefix)
        if resource is not None and resource.url and 0 < resource.size <= LARGEST:
            return resource
    raise ContentUnavailable(f"iCloud has no small picture of {file.record}.")
