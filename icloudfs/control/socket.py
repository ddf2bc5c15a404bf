"""Where the socket lies, and lines over it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import trio

from icloudfs.apple.session import stem

BEAT = 1.0
"""Seconds between two signs of life of the side that answers."""

SILENCE = 8.0
"""Seconds without one after which it is taken to hang."""

LONGEST_LINE = 16 << 20
"""Bytes; a result that lists 100,000 files has some ten million."""


def socket_path(cookie_directory: Path, account: str) -> Path:
    """Beside the database, in a directory that nobody else may enter."""
    return cookie_directory / f"{stem(account)}.socket"


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """A name for ``path`` that fits into a socket address (108 bytes), however deep it lies."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


async def lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[bytes]:
    """Every line that comes, without its end. Ends with the stream or a line that is too long."""
    held = bytearray()
    while chunk := await stream.receive_some():
        held += chunk
        while (end := held.find(b"\n")) >= 0:
            yield bytes(held[:end])
            del held[: end + 1]
        if len(held) > LONGEST_LINE:
            return
