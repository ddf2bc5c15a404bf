"""Apple's content checksum, ``fileChecksum``.

    fileChecksum = base64( 0x01 ‖ SHA1( SALT ‖ content ) )

Source: facts/sign-in.md §0.1 and facts/cloudkit.md §0.1, proven there on both complete originals that
exist in recorded traffic, and confirmed by others on 240 downloads, edited ones included
(facts/cloudkit.md §1.12); the algorithm is that of InflatableDonkey's ``FileDigestA`` and rustpush's
``mmcs.rs``. The first byte is a type. 0x01, 0x02 and 0x0B (each with or without bit 0x80) use the
digest above; 0x04 is keyed and cannot be checked from the content alone. An unknown type is therefore
"cannot verify", never "does not match".
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

SALT = b"com.apple.XattrObjectSalt\0com.apple.DataObjectSalt\0"
_DIGEST_LENGTH = 20
_STANDARD = str.maketrans("-_", "+/")
_URL_SAFE = str.maketrans("+/", "-_")
_CHECKABLE_TYPES = frozenset({0x01, 0x02, 0x0B})


def new_digest() -> _Hash:
    """A running SHA-1 that has taken the salt; feed it the content."""
    return hashlib.sha1(SALT, usedforsecurity=False)


def from_digest(digest: bytes, kind: int = 0x01) -> str:
    """The ``fileChecksum`` for a finished 20-byte digest: 28 base64 characters."""
    return base64.b64encode(bytes([kind]) + digest).decode("ascii")


def spellings(digest: bytes, kind: int = 0x01) -> tuple[str, ...]:
    """Every way in which Apple may write that ``fileChecksum``: base64 in either alphabet. The 21 bytes of one
    fill their 28 characters, so there is never a padding to leave out."""
    standard = from_digest(digest, kind)
    other = standard.translate(_URL_SAFE)
    return (standard,) if other == standard else (standard, other)


def of(content: bytes) -> str:
    """The ``fileChecksum`` of ``content``."""
    digest = new_digest()
    digest.update(content)
    return from_digest(digest.digest())


def is_checkable(checksum: str) -> bool:
    """Whether content can be checked against ``checksum`` at all."""
    raw = _decode(checksum)
    return len(raw) == 1 + _DIGEST_LENGTH and raw[0] & 0x7F in _CHECKABLE_TYPES


def matches(checksum: str, digest: bytes) -> bool:
    """Whether a finished salted SHA-1 ``digest`` is the one in a checkable ``checksum``."""
    return _decode(checksum)[1:] == digest


def _decode(checksum: str) -> bytes:
    """Base64 in either alphabet, with or without padding."""
    bare = checksum.translate(_STANDARD).rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:  # binascii.Error too; anything but base64 is not a checksum
        return b""
