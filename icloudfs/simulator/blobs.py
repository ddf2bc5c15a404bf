"""Contents by checksum, made when they are asked for.

A content is a source (which knows how to make bytes) and a short tail that makes it unlike any other
of the same source. Its checksum is computed once, when the library is built, by copying a digest that
has taken the source's part already: a hundred thousand photos cost about a second.
"""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import msgspec

from icloudfs.apple import checksum

if TYPE_CHECKING:
    from hashlib import _Hash

_KEPT_BYTES = 96 * 1024 * 1024


class Source(Protocol):
    """Where bytes come from. Deterministic: the same tail gives the same bytes, in any process."""

    def content(self, tail: bytes) -> bytes:
        """The whole content."""


class Blob(msgspec.Struct, frozen=True, gc=False):
    """One stored content."""

    digest: bytes
    """The salted SHA-1, 20 bytes."""
    size: int
    source: Source
    tail: bytes = b""

    @property
    def checksum(self) -> str:
        """Apple's ``fileChecksum``."""
        return checksum.from_digest(self.digest)

    @property
    def wrapping_key(self) -> bytes:
        """16 bytes, made from the content as convergent encryption would."""
        return hashlib.md5(b"wrapping" + self.digest, usedforsecurity=False).digest()

    @property
    def reference(self) -> bytes:
        """``referenceChecksum``, raw: 01 and the SHA-1 of the wrapping key (facts/sign-in.md §0.2)."""
        return b"\x01" + hashlib.sha1(self.wrapping_key, usedforsecurity=False).digest()

    @property
    def path(self) -> str:
        """What follows ``/B/`` in the content's URL."""
        return base64.urlsafe_b64encode(b"\x01" + self.digest + self.reference).decode("ascii")

    def content(self) -> bytes:
        return self.source.content(self.tail)


class Template:
    """A content with room for a tail at its end, and the digest of all that comes before."""

    def __init__(self, head: bytes, wrap: Wrap) -> None:
        self._head = head
        self._wrap = wrap
        self._hashed = checksum.new_digest()
        self._hashed.update(head)

    def content(self, tail: bytes) -> bytes:
        return self._head + self._wrap.around(tail)

    def blob(self, tail: bytes) -> Blob:
        """The content with ``tail`` on it."""
        wrapped = self._wrap.around(tail)
        digest: _Hash = self._hashed.copy()
        digest.update(wrapped)
        return Blob(digest.digest(), len(self._head) + len(wrapped), self, tail)


class Wrap(msgspec.Struct, frozen=True):
    """How a format takes bytes that mean nothing: between two fixed strings, or in a box."""

    before: bytes = b""
    after: bytes = b""
    box: bool = False
    """An ISO base media ``free`` box instead: length, type, tail."""

    def around(self, tail: bytes) -> bytes:
        if self.box:
            return (8 + len(tail)).to_bytes(4, "big") + b"free" + tail
        return self.before + tail + self.after


def blob_of(source: Source, tail: bytes = b"") -> Blob:
    """Make the content once, to know its size and checksum, and let it go again."""
    content = source.content(tail)
    digest = checksum.new_digest()
    digest.update(content)
    return Blob(digest.digest(), len(content), source, tail)


class Storehouse:
    """Every content of the simulated iCloud, by digest; the last few are kept in memory."""

    def __init__(self) -> None:
        self._blobs: dict[bytes, Blob] = {}
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._kept_bytes = 0

    def add(self, blob: Blob) -> Blob:
        return self._blobs.setdefault(blob.digest, blob)

    def add_all(self, blobs: Iterable[Blob]) -> None:
        for blob in blobs:
            self._blobs.setdefault(blob.digest, blob)

    def find(self, digest: bytes) -> Blob | None:
        """The blob with a 20-byte digest."""
        return self._blobs.get(digest)

    def find_checksum(self, text: str) -> Blob | None:
        """The blob with a ``fileChecksum``, in either base64 alphabet."""
        try:
            raw = base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_") + "==")
        except ValueError:
            return None
        return self.find(raw[1:])

    def kept(self, blob: Blob) -> bytes | None:
        """The content, if it is in memory."""
        content = self._kept.get(blob.digest)
        if content is not None:
            self._kept.move_to_end(blob.digest)
        return content

    def keep(self, blob: Blob, content: bytes) -> None:
        """Remember a content that has been made, and forget the oldest ones."""
        if blob.digest in self._kept:
            return
        self._kept[blob.digest] = content
        self._kept_bytes += len(content)
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)

    def __len__(self) -> int:
        return len(self._blobs)
