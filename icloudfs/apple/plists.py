"""Apple's small property lists: keywords, and where a photo was taken (facts/cloudkit.md §1.8).

A binary list names its parts by where they begin, and nothing keeps many parts from beginning at the same
place: 60 KB of them become gigabytes when they are read. So one is read only if its parts, laid end to end,
are no longer than itself, which those of an honest writer never are; then reading it costs what its size says.
"""

from __future__ import annotations

import plistlib
import struct
from typing import Any

LARGEST = 16 << 10
"""Bytes of one; a place has 200, or 520 as XML, and a keyword its letters and a few more."""
MOST_PARTS = 1000

_BINARY = b"bplist00"
_TRAILER = struct.Struct(">6xBBQQQ")


def read(content: bytes) -> Any:
    """What a list holds; None for what is none, or is too large to be meant. Never raises."""
    if not content or len(content) > LARGEST:
        return None
    try:
        if content.startswith(_BINARY):
            return _read_binary(content)
        return plistlib.loads(content, fmt=plistlib.FMT_XML)
    except Exception:
        # plistlib raises a dozen kinds for damaged content, and none of them matters here.
        return None


def _read_binary(content: bytes) -> Any:
    """Raises whatever a damaged list makes of it."""
    width, reference, parts, _, table = _TRAILER.unpack(content[-_TRAILER.size :])
    if parts > MOST_PARTS:
        return None
    begins = (table + width * number for number in range(parts))
    offsets = [int.from_bytes(content[at : at + width], "big") for at in begins]
    if sum(_length(content, at, reference) for at in offsets) > len(content):
        return None
    return plistlib.loads(content, fmt=plistlib.FMT_BINARY)


_COUNTED = {0x4: 1, 0x5: 1, 0x6: 2}
"""Bytes of one element: of bytes, of ASCII and of UTF-16."""
_REFERRING = {0xA: 1, 0xC: 1, 0xD: 2}
"""References of one element: of a list, a set and a dictionary."""
_MANY = 0xF


def _length(content: bytes, at: int, reference: int) -> int:
    """Bytes of the part that begins ``at``, without those that it refers to."""
    kind, low = content[at] >> 4, content[at] & 0xF
    if kind in (0x1, 0x2):  # whole numbers and real ones
        return 1 + (1 << low)
    if kind == 0x3:  # a date
        return 9
    if kind == 0x8:
        return 2 + low
    if kind not in _COUNTED and kind not in _REFERRING:
        return 1
    head, count = 1, low
    if low == _MANY:
        width = 1 << (content[at + 1] & 0x3)
        head, count = 2 + width, int.from_bytes(content[at + 2 : at + 2 + width], "big")
    return head + count * (_COUNTED.get(kind) or _REFERRING[kind] * reference)
