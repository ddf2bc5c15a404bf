"""Whether a whole file is the content that iCloud announced.

One pass computes Apple's salted SHA-1 and a SHA-256 that anybody can check. Both release the GIL; together
they take about 1 s a GB (facts/fuse.md §2.3), so ``digest`` belongs in a thread.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
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


class _Buffers(threading.local):
    """One for each thread that hashes, and not for each file: hundreds may wait until the disk has them."""

    def __init__(self) -> None:
        self.block = memoryview(bytearray(_BLOCK))


_buffers = _Buffers()


class RunningDigest:
    """The digests of a file that is still being written: what is there in one piece is hashed already.

    For threads, one at a time. It reads the file rather than what is written to it, so that it is the
    file that is judged; the page cache has it.
    """

    def __init__(self) -> None:
        self.reached = 0
        """Bytes from the beginning on that were hashed."""
        self._salted = apple.new_digest()
        self._plain = hashlib.sha256()

    def advance(self, fd: int, stop: int) -> int:
        """Hash on up to ``stop``, or the end of the file; how many bytes that were. Raises OSError."""
        buffer = _buffers.block
        read = os.preadv(fd, [buffer[: max(stop - self.reached, 0)]], self.reached)
        self._salted.update(buffer[:read])
        self._plain.update(buffer[:read])
        self.reached += read
        return read

    def result(self) -> Digests:
        """Of what was hashed so far."""
        return Digests(self.reached, self._salted.digest(), self._plain.hexdigest())


def digest(
    fd: int, count: Callable[[int], None] = _uncounted, begun: RunningDigest | None = None
) -> Digests:
    """Read the file ``fd`` to its end, telling ``count`` of each block's bytes; where it was ``begun``
    already, from there on.

    Ends early if the caller is cancelled. Raises OSError.
    """
    running = begun or RunningDigest()
    while read := running.advance(fd, sys.maxsize):
        trio.from_thread.check_cancelled()
        count(read)
    return running.result()


def digest_of(content: bytes) -> Digests:
    """What ``digest`` would find in a file with that content."""
    salted = apple.new_digest()
    salted.update(content)
    return Digests(len(content), salted.digest(), hashlib.sha256(content).hexdigest())


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
