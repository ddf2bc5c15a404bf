"""iCloud's side for the tests: contents, records, URLs that expire, and everything that goes wrong."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from icloudfs.apple import checksum as apple
from icloudfs.apple.records import Asset, Master, Record, Rendition, Resource, Tombstone, Zone
from icloudfs.cache import Cache, OpenFile
from icloudfs.cache.source import ExpiredURL, Interrupted
from icloudfs.errors import ContentMismatch, Offline
from icloudfs.state.database import Database
from icloudfs.tree.directory import WIRE_PREFIX, File

KIB = 1 << 10
MIB = 1 << 20
ZONE = Zone("private", "PrimarySync")
SHARED = Zone("shared", "SharedSync-1", "_owner")
CHUNK = 64 * KIB


def some_bytes(size: int, seed: int = 0) -> bytes:
    """Content that is the same at no two places and in no two files."""
    return random.Random(seed).randbytes(size)


@dataclass
class Get:
    """One GET that the server answered."""

    checksum: str
    start: int
    stop: int
    sent: int = 0


@dataclass
class Server:
    """A Source that keeps count. The knobs may be turned at any time."""

    contents: dict[str, bytes] = field(default_factory=dict)
    lookups: list[list[str]] = field(default_factory=list)
    gets: list[Get] = field(default_factory=list)
    away: bool = False
    """Connections are refused."""
    silent: bool = False
    """Nothing is ever answered."""
    pace: float = 0.0
    """Seconds before each chunk."""
    look_up_takes: float = 0.0
    flipped: int | None = None
    """Offset of a byte that comes wrong."""
    cut_after: int | None = None
    """Bytes after which every body breaks off."""
    cuts: int | None = None
    """How many bodies break off, None for all."""
    goes_away_after: int | None = None
    """Bytes in all after which the network is gone."""
    refuse: str = ""
    """What comes in the place of a photo."""
    errors: list[Exception] = field(default_factory=list)
    """Raised by the next downloads, in turn."""
    url_lives: int = 1 << 30
    """GETs that a URL is good for."""
    _urls: dict[str, int] = field(default_factory=dict)
    _names: dict[tuple[Zone, str], Record] = field(default_factory=dict)

    # -- what is in iCloud -----------------------------------------------------------------------

    def add(
        self,
        content: bytes,
        *,
        name: str = "",
        zone: Zone = ZONE,
        rendition: Rendition = Rendition.ORIGINAL,
        prefix: str = "",
        checksum: str = "",
    ) -> File:
        """``prefix``: what the record has it under, if not what is usual for the rendition."""
        checksum = checksum or apple.of(content)
        self.contents[checksum] = content
        file = File(
            ino=len(self.contents) + 1,
            size=len(content),
            checksum=checksum,
            rendition=rendition,
            zone=zone,
            master=name or f"master-{checksum}",
            asset=f"asset-{checksum}",
        )
        known = self._names.get((zone, file.record))
        resources = dict(known.resources) if isinstance(known, Master | Asset) else {}
        resources[prefix or WIRE_PREFIX[rendition]] = Resource(checksum, len(content))
        kind = Asset if file.record == file.asset else Master
        self._names[zone, file.record] = kind(name=file.record, resources=resources)
        return file

    def add_small(
        self, file: File, content: bytes, *, prefix: str = "resJPEGThumb", checksum: str = ""
    ) -> None:
        """Beside the content of ``file``, a small picture of it."""
        checksum = checksum or apple.of(content)
        self.contents[checksum] = content
        record = self._names[file.zone, file.record]
        assert isinstance(record, Master | Asset)
        record.resources[prefix] = Resource(checksum, len(content))

    def replace(self, file: File, content: bytes) -> None:
        """The photo of ``file`` was edited: its record has another content now."""
        self.contents[apple.of(content)] = content
        self._names[file.zone, file.record] = Master(
            file.record, resources={file.prefix: Resource(apple.of(content), len(content))}
        )

    def remove(self, file: File) -> None:
        self._names[file.zone, file.record] = Tombstone(file.record)

    @property
    def sent(self) -> int:
        """Bytes of contents that left the server."""
        return sum(get.sent for get in self.gets)

    def forget_traffic(self) -> None:
        self.lookups.clear()
        self.gets.clear()

    # -- the Source ------------------------------------------------------------------------------

    async def lookup(self, zone: Zone, names: Sequence[str]) -> Sequence[Record]:
        await self._answer()
        self.lookups.append(list(names))
        await trio.sleep(self.look_up_takes)
        return [self._with_urls(self._names[zone, name]) for name in names]

    def _with_urls(self, record: Record) -> Record:
        if not isinstance(record, Master | Asset):
            return record
        resources = {}
        for prefix, resource in record.resources.items():
            url = f"https://content/{len(self._urls)}/{resource.checksum}"
            self._urls[url] = self.url_lives
            resources[prefix] = Resource(resource.checksum, resource.size, url=url)
        return type(record)(name=record.name, resources=resources)

    @asynccontextmanager
    async def download(self, url: str, start: int, stop: int, *, size: int) -> AsyncIterator[Body]:
        await self._answer()
        assert 0 <= start < stop
        get = Get(url.split("/", 4)[4], start, stop)
        self.gets.append(get)
        if self.errors:
            raise self.errors.pop(0)
        if self._urls[url] <= 0:
            raise ExpiredURL("HTTP 410")
        self._urls[url] -= 1
        if self.refuse:
            raise ContentMismatch(f"Expected a photo or video, found {self.refuse}.")
        content = self.contents[get.checksum]
        if len(content) != size:
            raise ContentMismatch(f"Expected {size} bytes, found {len(content)}.")
        yield Body(self, get, content)

    async def _answer(self) -> None:
        if self.silent:
            await trio.sleep_forever()
        if self.away:
            raise Offline("There is no connection to content.")
        await trio.lowlevel.checkpoint()


class Body:
    """The body of one answer."""

    def __init__(self, server: Server, get: Get, content: bytes) -> None:
        self.start = get.start
        self.total: int | None = len(content)
        self._server = server
        self._get = get
        self._content = content

    async def chunks(self) -> AsyncIterator[bytes]:
        server, get = self._server, self._get
        at = get.start
        cut = server.cut_after if server.cuts is None or server.cuts > 0 else None
        while at < get.stop:
            await trio.sleep(server.pace)
            if server.silent:
                await trio.sleep_forever()
            if cut is not None and at - get.start >= cut:
                if server.cuts is not None:
                    server.cuts -= 1
                raise Interrupted("The download broke off.", received=at - get.start)
            if server.goes_away_after is not None and server.sent >= server.goes_away_after:
                server.away = True
                raise Interrupted("The download broke off.", received=at - get.start)
            stop = min(at + CHUNK, get.stop)
            if cut is not None:
                stop = min(stop, get.start + cut)
            chunk = bytearray(self._content[at:stop])
            if server.flipped is not None and at <= server.flipped < stop:
                chunk[server.flipped - at] ^= 0xFF
            get.sent += len(chunk)
            at = stop
            yield bytes(chunk)


@asynccontextmanager
async def running(
    directory: Path,
    database: Database,
    server: Server,
    *,
    limit: int = 0,
    timeout: float = 5.0,
    wrong: list[str] | None = None,
    whole_below: int = 32 * MIB,
    strict: bool = False,
) -> AsyncIterator[Cache]:
    """A cache at work. ``wrong`` collects the checksums of ``on_content_changed``."""
    cache = Cache(
        directory,
        database,
        server,
        limit=limit,
        timeout=timeout,
        whole_below=whole_below,
        strict=strict,
        on_content_changed=None if wrong is None else wrong.append,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(cache.run)
        yield cache
        nursery.cancel_scope.cancel()


def is_verified(handle: OpenFile) -> bool:
    """``handle.verified``, which a type checker would take for constant between two looks."""
    return handle.verified


async def read_all(cache: Cache, file: File, size: int = 128 * KIB) -> bytes:
    """What cp does."""
    handle = cache.open(file)
    try:
        parts = []
        at = 0
        while part := await handle.read(at, size):
            parts.append(part)
            at += len(part)
        return b"".join(parts)
    finally:
        handle.close()


async def until_nothing_comes(cache: Cache) -> None:
    """Wait until nothing is on its way from iCloud."""
    with trio.fail_after(10):
        while cache.transfers():  # noqa: ASYNC110
            await trio.sleep(0.01)
