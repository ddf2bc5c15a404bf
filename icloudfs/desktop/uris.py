"""The names under which file managers look for the thumbnail of a file.

An entry of the thumbnail cache is named after the MD5 of the file's URI, so every character must be escaped as
those who ask do it. GLib and Qt agree on all but three characters (facts/desktop.md §1.2, tried with both).
Gwenview goes its own way.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote

_PLAIN = "/!$&'()*+,:=@~-._"
"""What GLib leaves as it is, besides letters and digits."""

_PLAIN_FOR_QT = _PLAIN + ";[]"


def uris(path: bytes) -> list[str]:
    """Every URI of the file at an absolute path: GLib's, and Qt's if that is another one."""
    return list(dict.fromkeys(f"file://{quote(path, safe)}" for safe in (_PLAIN, _PLAIN_FOR_QT)))


def gwenview_uri(path: bytes) -> str:
    """The URI as one reads it, with blanks and letters of every language: what Gwenview takes for one."""
    read = path.decode("utf-8", "replace")
    for character in "%#?":
        read = read.replace(character, quote(character))
    return f"file://{read}"


def entry(uri: str) -> str:
    """The file name of its thumbnail."""
    return hashlib.md5(uri.encode(), usedforsecurity=False).hexdigest() + ".png"
