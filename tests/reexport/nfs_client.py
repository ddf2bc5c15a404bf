"""An NFS client that keeps what it was given, as the kernel of one does: by libnfs, in version 3.

    python -m tests.reexport.nfs_client EXPORT

is told a word and a path, or a number, a line, and answers each with a line of JSON: ``names PATH`` of a
folder, ``open PATH`` with a number for the handle that is kept, ``read NUMBER`` with the size and SHA-256 of
all that is behind that handle, ``create PATH``. What goes wrong is ``{"error": ...}``.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
from typing import Any

_LIBRARY = "libnfs.so.13"
_VERSION = 3
_PIECE = 64 << 10


class _Entry(ctypes.Structure):
    """The beginning of ``struct nfsdirent``."""


_Entry._fields_ = [("next", ctypes.POINTER(_Entry)), ("name", ctypes.c_char_p)]


class RefusedError(Exception):
    """What the server, or the way there, said."""


class Client:
    """One connection; it is made anew by itself when the server was started anew."""

    def __init__(self, export: str) -> None:
        self._nfs = ctypes.CDLL(_LIBRARY)
        for maker in ("nfs_init_context", "nfs_readdir"):
            getattr(self._nfs, maker).restype = ctypes.c_void_p
        self._nfs.nfs_get_error.restype = ctypes.c_char_p
        self._context = ctypes.c_void_p(self._nfs.nfs_init_context())
        self._handles: list[ctypes.c_void_p] = []
        self._call("nfs_set_version", ctypes.c_int(_VERSION))
        self._call("nfs_mount", b"127.0.0.1", os.fsencode(export))

    def names(self, path: str) -> list[str]:
        directory = ctypes.c_void_p()
        self._call("nfs_opendir", os.fsencode(path), ctypes.byref(directory))
        found = []
        while place := self._nfs.nfs_readdir(self._context, directory):
            found.append(os.fsdecode(_Entry.from_address(place).name))
        self._nfs.nfs_closedir(self._context, directory)
        return sorted(name for name in found if name not in (".", ".."))

    def open(self, path: str) -> int:
        handle = ctypes.c_void_p()
        self._call("nfs_open", os.fsencode(path), ctypes.c_int(os.O_RDONLY), ctypes.byref(handle))
        self._handles.append(handle)
        return len(self._handles) - 1

    def read(self, number: str) -> dict[str, Any]:
        handle, digest, size = self._handles[int(number)], hashlib.sha256(), 0
        piece = ctypes.create_string_buffer(_PIECE)
        while got := self._call(
            "nfs_pread", handle, ctypes.c_uint64(size), ctypes.c_uint64(_PIECE), piece
        ):
            digest.update(piece.raw[:got])
            size += got
        return {"size": size, "sha256": digest.hexdigest()}

    def create(self, path: str) -> int:
        handle = ctypes.c_void_p()
        mode = ctypes.c_int(0o644)
        return self._call("nfs_creat", os.fsencode(path), mode, ctypes.byref(handle))

    def _call(self, name: str, *arguments: Any) -> int:
        result = int(getattr(self._nfs, name)(self._context, *arguments))
        if result < 0:
            raise RefusedError((self._nfs.nfs_get_error(self._context) or b"").decode())
        return result


def main(export: str) -> None:
    client = Client(export)
    for line in sys.stdin:
        word, _, argument = line.rstrip("\n").partition(" ")
        answer: Any
        try:
            answer = getattr(client, word)(argument)
        except RefusedError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
