"""JSON with values in it that are none: what of it can be read.

One lone surrogate, ``NaN`` or raw control character makes a strict reader refuse a whole answer, and with it
two hundred records. Here such a value is ``BROKEN``, and everything around it is as it was sent. What is no
JSON in its structure (an HTML page, an answer that breaks off) is refused as before.

This is slow (about 10 MB/s) and is for answers that a strict reader has refused: in a thread, if they are long.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container
from enum import Enum
from typing import Any, Final

import msgspec


class Broken(Enum):
    """What stands for a value that cannot be read."""

    BROKEN = "broken"


BROKEN: Final = Broken.BROKEN

DEEPEST = 40
"""Levels of lists and objects in each other; what is deeper is no value that CloudKit knows."""
_LONGEST_NUMBER = 400  # characters

_BLANK = re.compile(rb"[ \t\r\n]*")
_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_WORD = re.compile(rb'[^\s,:"\[\]{}]+')
_NEST = re.compile(rb'[\[{]+|[\]}]+|"[^"\\]*(?:\\.[^"\\]*)*"|"', re.DOTALL)
"""Whatever matters to where a list or an object ends."""
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS = {b"true": True, b"false": False, b"null": None}


class NoJson(ValueError):
    """The text has not the structure of JSON."""


def read(text: bytes, *, unread: Container[str] = ()) -> Any:
    """The value of ``text``, with BROKEN in the place of what cannot be read.

    Elements of a list whose key is in ``unread`` are ``msgspec.Raw``, to be read one by one. Raises NoJson.
    """
    reader = _Reader(text, unread)
    value = reader.value(0)
    reader.end()
    return value


def has_broken(value: object) -> bool:
    """Whether any part of ``value`` could not be read."""
    match value:
        case dict():
            return any(has_broken(part) for part in value.values())
        case list():
            return any(has_broken(part) for part in value)
    return value is BROKEN


def pruned(value: Any, levels: int = DEEPEST) -> Any:
    """The same without what is BROKEN, or nested so deep that whoever goes down would not come back."""
    if not levels:
        return None
    match value:
        case dict():
            kept = ((key, part) for key, part in value.items() if part is not BROKEN)
            return {key: pruned(part, levels - 1) for key, part in kept}
        case list():
            return [pruned(part, levels - 1) for part in value if part is not BROKEN]
    return value


class _Reader:
    def __init__(self, text: bytes, unread: Container[str]) -> None:
        self._text = text
        self._unread = unread
        self._at = 0

    def value(self, depth: int) -> Any:
        match self._peek():
            case b"{":
                return self._object(depth) if depth < DEEPEST else self._skipped()
            case b"[":
                return self._list(depth) if depth < DEEPEST else self._skipped()
            case b'"':
                return _text(self._take(_TEXT))
        return _scalar(self._take(_WORD))

    def end(self) -> None:
        if self._peek():
            raise NoJson

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._at += 1
        if self._passes(b"}"):
            return found
        while True:
            if self._peek() != b'"':
                raise NoJson
            key = _text(self._take(_TEXT))
            if not self._passes(b":"):
                raise NoJson
            if key in self._unread and self._peek() == b"[":
                value: Any = self._raw_list()
            else:
                value = self.value(depth + 1)
            if isinstance(key, str):
                found[key] = value
            if self._passes(b"}"):
                return found
            if not self._passes(b","):
                raise NoJson

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        self._at += 1
        if self._passes(b"]"):
            return found
        while True:
            found.append(self.value(depth + 1))
            if self._passes(b"]"):
                return found
            if not self._passes(b","):
                raise NoJson

    def _raw_list(self) -> list[msgspec.Raw]:
        found: list[msgspec.Raw] = []
        self._at += 1
        if self._passes(b"]"):
            return found
        while True:
            first = self._peek()
            start = self._at
            if first in (b"{", b"["):
                self._skipped()
            else:
                self._take(_TEXT if first == b'"' else _WORD)
            found.append(msgspec.Raw(self._text[start : self._at]))
            if self._passes(b"]"):
                return found
            if not self._passes(b","):
                raise NoJson

    def _skipped(self) -> Broken:
        """Go behind the list or object that begins here."""
        depth = 0
        for found in _NEST.finditer(self._text, self._at):
            marks = found[0]
            if marks == b'"':
                break  # a text that does not end
            if marks[0] in b"[{":
                depth += len(marks)
            elif marks[0] in b"]}":
                if depth <= len(marks):
                    self._at = found.start() + depth
                    return BROKEN
                depth -= len(marks)
        raise NoJson

    def _peek(self) -> bytes:
        """The next character that is no blank; nothing at the end."""
        blank = _BLANK.match(self._text, self._at)
        assert blank is not None
        self._at = blank.end()
        return self._text[self._at : self._at + 1]

    def _passes(self, mark: bytes) -> bool:
        if self._peek() != mark:
            return False
        self._at += 1
        return True

    def _take(self, what: re.Pattern[bytes]) -> bytes:
        found = what.match(self._text, self._at)
        if found is None:
            raise NoJson
        self._at = found.end()
        return found[0]


def _text(written: bytes) -> str | Broken:
    try:
        return msgspec.json.decode(written, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return BROKEN


def _scalar(written: bytes) -> object:
    if written in _WORDS:
        return _WORDS[written]
    number = _NUMBER.fullmatch(written) if len(written) <= _LONGEST_NUMBER else None
    if number is None:
        return BROKEN
    if number[1] is None and number[2] is None:
        return int(written)
    value = float(written)
    return value if math.isfinite(value) else BROKEN
