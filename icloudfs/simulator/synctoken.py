"""Sync tokens and continuation markers, in Apple's own shape.

A sync token is 44 base64 characters, 33 bytes: a type byte, an 8-byte big-endian counter,
``7fffffffffffffff`` and a 16-byte zone id (facts/cloudkit.md §1.6, four recorded samples). Zone tokens
have type 01. A database token is a separate namespace and changes even when nothing changed (§1.7), so
it has a type of its own and carries a count of its calls where a zone token has the constant.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct

ZONE_TYPE = 0x01
DATABASE_TYPE = 0x02

_CONSTANT = 0x7FFFFFFFFFFFFFFF
_SHAPE = struct.Struct(">BQQ16s")

UNKNOWN_TYPE = "Unknown sync continuation type"
INVALID_FORMAT = "Invalid continuation format"


class BadTokenError(Exception):
    """A token that this zone or database has not given out; ``str`` is Apple's reason for it."""


def zone_id(owner: str, name: str) -> bytes:
    """The 16 bytes that stand for a zone, or a database, in its tokens."""
    return hashlib.md5(f"{owner}/{name}".encode(), usedforsecurity=False).digest()


def encode(kind: int, counter: int, identity: bytes, calls: int = _CONSTANT) -> str:
    """The token for a position in a log."""
    return base64.b64encode(_SHAPE.pack(kind, counter, calls, identity)).decode("ascii")


def decode(token: str, kind: int, identity: bytes, newest: int) -> int:
    """The position that ``token`` stands for; ``newest`` is the greatest that was ever given out.

    Raises BadTokenError with the reason that Apple gives (facts/cloudkit.md §1.7): a token that is cut
    short begins rightly and is told apart from one that is none of ours.
    """
    raw = _unpacked(token)
    if not raw or raw[0] != kind:
        raise BadTokenError(UNKNOWN_TYPE)
    if len(raw) != _SHAPE.size or len(token) != 44:
        raise BadTokenError(INVALID_FORMAT)
    _, counter, _, of = _SHAPE.unpack(raw)
    if of != identity or counter > newest:
        raise BadTokenError(UNKNOWN_TYPE)
    return int(counter)


def _unpacked(token: str) -> bytes:
    whole = token[: len(token) // 4 * 4]
    try:
        return base64.b64decode(whole, validate=True)
    except binascii.Error:
        return b""


def marker(offset: int, index: str) -> str:
    """A ``continuationMarker``: base64 of a protobuf message that holds the next offset."""
    tag = hashlib.md5(index.encode(), usedforsecurity=False).digest()[:8]
    return base64.b64encode(b"\x08" + _varint(offset) + b"\x12\x08" + tag).decode("ascii")


def marker_offset(text: str, index: str) -> int:
    """The offset in a marker of ``index``. Raises BadTokenError for any other text."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise BadTokenError(INVALID_FORMAT) from None
    value = shift = 0
    for byte in raw[1:]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    if marker(value, index) != text:
        raise BadTokenError(INVALID_FORMAT)
    return value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
