"""The kernel's control filesystem: how many reads may wait at once, and the end of all waiting.

Buffered reads are read-ahead, which the kernel counts as background requests, twelve at a time. When twelve
wait for the network, the thirteenth, of a file that lies ready in the cache, waits as well: 18.5 s with 16
slow readers (facts/fuse.md §0.2). The limit cannot be negotiated through pyfuse3, only written to the
control filesystem, by the user who mounted. Where that is not there (containers), files that are not whole are
opened for direct reads, which are not background requests. But what is read directly cannot be mapped into
shared memory, as feh, imlib2 and Python's mmap do it: so a photo is fetched when it is opened (operations.py).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from icloudfs.mount import mount_table
from icloudfs.mountinfo import Mounted

log = logging.getLogger(__name__)

CONNECTIONS = Path("/sys/fs/fuse/connections")
MAX_BACKGROUND = 256
CONGESTION_THRESHOLD = 192


def raise_background_limit(mount_point: Path) -> bool:
    """Raise the limit of the mount at ``mount_point`` (absolute); False if it cannot be done."""
    mounted = mount_table.mounted_at(mount_point)
    raised = mounted is not None and _write_limits(CONNECTIONS / str(mounted.minor))
    if raised:
        log.info("up to %d reads may wait at once", MAX_BACKGROUND)
    else:
        log.info("%s cannot be written: files are read directly until they are whole", CONNECTIONS)
    return raised


@contextlib.contextmanager
def waiting_ends(mounted: Mounted | None) -> Iterator[None]:
    """After this, nobody waits for an answer any more, should the mount be taken away in use.

    Closing the session alone may not do it: a thread that tells the kernel to forget a name waits for
    whoever is at that directory, who waits for us, and keeps the session open meanwhile. The file is opened
    before, when it is surely ours, and is of no effect once the connection is gone. Aborted before, libfuse
    would take the folder for unmounted and leave it there.
    """
    connection = _opened(mounted)
    try:
        yield
    finally:
        _abort(connection)


def abort(mounted: Mounted) -> None:
    """End all waiting at a mount whose daemon does not answer: every call there is refused from now on.

    Does nothing without the control filesystem.
    """
    _abort(_opened(mounted))


def _abort(connection: IO[bytes] | None) -> None:
    if connection is not None:
        with contextlib.suppress(OSError), connection:
            connection.write(b"1")


def _opened(mounted: Mounted | None) -> IO[bytes] | None:
    if mounted is None or mount_table.mounted_at(mounted.path) != mounted:
        return None
    try:
        return (CONNECTIONS / str(mounted.minor) / "abort").open("wb", buffering=0)
    except OSError:
        return None


def _write_limits(connection: Path) -> bool:
    try:
        (connection / "max_background").write_text(str(MAX_BACKGROUND))
        (connection / "congestion_threshold").write_text(str(CONGESTION_THRESHOLD))
    except OSError:
        return False
    return True
