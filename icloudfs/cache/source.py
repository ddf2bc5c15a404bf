"""What the cache needs of iCloud, and nothing more: fresh records, and the bytes behind a URL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from icloudfs.apple.cloudkit import MOST_NAMES, ZoneGone
from icloudfs.apple.content import ExpiredURL, Interrupted
from icloudfs.apple.decode import DOWNLOAD_KEYS
from icloudfs.apple.records import Record, Zone
from icloudfs.errors import ContentUnavailable

__all__ = ["NAMES_A_LOOKUP", "Download", "ExpiredURL", "ICloudSource", "Interrupted", "Source"]

NAMES_A_LOOKUP = MOST_NAMES
"""Most records that are looked up in one call."""


class Download(Protocol):
    """The answer to one ranged GET, its body still to come."""

    @property
    def start(self) -> int:
        """Offset of the body's first byte."""

    @property
    def total(self) -> int | None:
        """Size of the whole content, if the server said."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body. Raises Interrupted, Offline, ContentMismatch."""


class Source(Protocol):
    """iCloud. Everything may raise Offline, Throttled, LoginNeeded and ProtocolError."""

    async def lookup(self, zone: Zone, names: Sequence[str]) -> Sequence[Record]:
        """One records/lookup for at most ``NAMES_A_LOOKUP`` records of a zone."""

    def download(
        self, url: str, start: int, stop: int, *, size: int
    ) -> AbstractAsyncContextManager[Download]:
        """One GET of bytes ``[start, stop)`` of a content of ``size`` bytes.

        Raises ExpiredURL, ContentMismatch for what cannot be a part of that content (another size,
        HTML, JSON, an error of 17 bytes) and ContentUnavailable.
        """


class _Photos(Protocol):
    async def lookup(
        self, zone: Zone, names: Sequence[str], keys: Sequence[str] | None = None
    ) -> Sequence[Record]: ...


class _ICloud(Protocol):
    """What of ``apple.ICloud`` is used."""

    @property
    def photos(self) -> _Photos: ...

    def download(
        self,
        url: str,
        start: int = 0,
        stop: int | None = None,
        *,
        size: int | None = None,
        idle_timeout: float = ...,
    ) -> AbstractAsyncContextManager[Download]: ...


class ICloudSource:
    """The real iCloud as a Source. ``timeout``: seconds without a byte that end a download."""

    def __init__(self, icloud: _ICloud, timeout: float = 30.0) -> None:
        self._icloud = icloud
        self._timeout = timeout

    async def lookup(self, zone: Zone, names: Sequence[str]) -> Sequence[Record]:
        try:
            return await self._icloud.photos.lookup(zone, names, DOWNLOAD_KEYS)
        except ZoneGone as error:
            raise ContentUnavailable(f"The library {zone.name} is gone from iCloud.") from error

    def download(
        self, url: str, start: int, stop: int, *, size: int
    ) -> AbstractAsyncContextManager[Download]:
        return self._icloud.download(url, start, stop, size=size, idle_timeout=self._timeout)
