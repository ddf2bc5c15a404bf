"""Somebody who watches folders, as a file manager does: a process that prints what inotify tells it.

A program of its own with nothing but the standard library, so that any user can be the one who watches:
``watcher.py FOLDER…`` prints an empty line when it watches, then a line an event: which of the folders, by
its number, what happened, and the name.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import struct
import sys

EVENTS = {
    0x2: "MODIFY",
    0x4: "ATTRIB",
    0x8: "CLOSE_WRITE",
    0x40: "MOVED_FROM",
    0x80: "MOVED_TO",
    0x100: "CREATE",
    0x200: "DELETE",
    0x400: "DELETE_SELF",
    0x800: "MOVE_SELF",
}
_HEADER = struct.Struct("iIII")


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    inotify = libc.inotify_init1(0)
    numbers = {}
    for number, folder in enumerate(sys.argv[1:]):
        with contextlib.suppress(NotADirectoryError):
            list(pathlib.Path(folder).iterdir())
        watch = libc.inotify_add_watch(inotify, os.fsencode(folder), sum(EVENTS))
        assert watch > 0, os.strerror(ctypes.get_errno())
        numbers[watch] = number
    print(flush=True)
    while True:
        events, at = os.read(inotify, 1 << 16), 0
        while at < len(events):
            watch, mask, _cookie, length = _HEADER.unpack_from(events, at)
            name = events[at + _HEADER.size :][:length].rstrip(b"\0").decode()
            at += _HEADER.size + length
            for bit, event in EVENTS.items():
                if mask & bit:
                    print(numbers[watch], event, name, flush=True)


if __name__ == "__main__":
    main()
