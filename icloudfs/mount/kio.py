"""Which part of KDE's input and output (KIO) a request comes from, if from any.

Dolphin, and whatever shows KDE's file dialogue, looks at files by workers. Those that list folders and stat
files are threads of the program itself since KIO 5.95; before that, and where one has chosen so, they are
processes, as those that draw thumbnails always are. A process says in its first argument which worker it is.
"""

from __future__ import annotations

import enum
from contextlib import suppress

import trio

from icloudfs.mount import askers


class Worker(enum.Enum):
    """What a worker of KIO does."""

    FILES = "lists folders, stats and copies files"
    THUMBNAILS = "reads files to draw small pictures of them"


_THREAD = b"KIO::WorkerThre"
"""Qt names a thread after its class, and the kernel keeps 15 bytes."""

_PROCESSES = (b"kioslave5", b"kioworker")

_BY_LIBRARY = {
    b"file.so": Worker.FILES,
    b"kio_file.so": Worker.FILES,
    b"thumbnail.so": Worker.THUMBNAILS,
}
"""The end of the first argument: the library that makes a process the worker that it is."""


async def worker(thread: int) -> Worker | None:
    """What the thread with this number is."""
    with suppress(OSError):
        name = askers.thread_name(thread)
        if name == _THREAD:
            return Worker.FILES
        if name in _PROCESSES:
            arguments = await trio.to_thread.run_sync(askers.arguments, thread)
            return _BY_LIBRARY.get(arguments[1].rpartition(b"/")[2])
    return None
