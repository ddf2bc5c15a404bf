"""Paths where only text can stand. A name on a disk is bytes, of which Python makes text with lone surrogates
for what is no UTF-8 (PEP 383); these pass through neither JSON encoders nor SQLite nor a terminal.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote_to_bytes

import msgspec

T = TypeVar("T")

_URI = "file://"


def is_text(word: str) -> bool:
    """Whether it can stand anywhere."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


# -- in SQLite ---------------------------------------------------------------------------------------


def uri(path: Path) -> str:
    """A path as a URI, by which SQLite opens any (https://sqlite.org/uri.html)."""
    return _URI + quote(os.fsencode(path.absolute()))


def kept(path: Path) -> str:
    """A path to be kept as text: as it is where it can be."""
    return str(path) if is_text(str(path)) else uri(path)


def shown(text: str) -> str:
    """The path that ``kept`` made ``text`` of."""
    return os.fsdecode(unquote_to_bytes(text.removeprefix(_URI))) if text.startswith(_URI) else text


# -- in JSON of our own ------------------------------------------------------------------------------


def encoded(value: Any) -> bytes:
    """JSON; lone surrogates are escaped, which RFC 8259 allows and msgspec does not do."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value)).encode("ascii")


def decoded(text: bytes, kind: Any) -> Any:
    """What ``encoded`` made JSON of. Raises msgspec.DecodeError."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        try:
            return msgspec.convert(json.loads(text), kind)
        except msgspec.ValidationError:
            raise
        except (ValueError, RecursionError):
            raise msgspec.DecodeError(str(error)) from error


# -- on a terminal -----------------------------------------------------------------------------------

_AS_IT_WAS = "icloudfs.as_it_was"


def print_as_they_are() -> None:
    """From now on bytes of a path are printed as they are, and nothing that cannot be printed is an error."""
    codecs.register_error(_AS_IT_WAS, _as_it_was)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_AS_IT_WAS)


def _as_it_was(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)
