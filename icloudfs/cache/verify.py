"""Whether a whole file is the content that iCloud announced.

One pass computes Apple's salted SHA-1 and a SHA-256 that anybody can check. Both release the GIL; together
they take about 1 s a GB (facts/fuse.md §2.3), so ``digest`` belongs in a thread.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import msgspec
import trio

from icloudfs.apple import checksum as apple
from icloudfs.errors import ContentMismatch

_BLOCK = 1 << 20


class Digests(msgspec.Struct, frozen=True):
    """What a pass over a file found."""

    size: int
    salted_sha1: bytes
    """Of Apple's salt and the content."""
    sha256: str
    """Hex."""


def _uncounted(size: int) -> None:
    """Nobody watches the progress."""


def digest(fd: int, count: Callable[[int], None] = _uncounted) -> Digests:
    """Read the whole file ``fd``, telling ``count`` of each block's bytes.

    Ends early if the caller is cancelled. Raises OSError.
    """
    salted = apple.new_digest()
    plain = hashlib.sha256()
    buffer = bytearray(_BLOCK)
    size = 0
    while read := os.preadv(fd, [buffer], size):
        trio.from_thread.check_cancelled()
        block = memoryview(buffer)[:read]
        salted.update(block)
        plain.update(block)
        count(read)
        size += read
    return Digests(size, salted.digest(), plain.hexdigest())


def judge(checksum: str, size: int, found: Digests) -> bool:
    """Whether ``found`` was checked against the announced ``checksum``, or only its ``size`` could be.

    Raises ContentMismatch, naming what was expected and what was found.
    """
    if found.size != size:
        raise ContentMismatch(f"Expected {size} bytes, found {found.size}.")
    if not apple.is_checkable(checksum):
        return False
    if not apple.matches(checksum, found.salted_sha1):
        raise ContentMismatch(
            f"Expected checksum {checksum}, found {apple.from_digest(found.salted_sha1)}"
            f" in {size} bytes."
        )
    return True
