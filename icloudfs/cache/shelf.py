"""Small files on this disk, bounded in number and in bytes; the least recently used goes first.

    xx/<name>    one file; xx are the third and fourth letter of its name
    .new         what is being written

A file ends with the SHA-256 of its name and of what it holds; one that is something else by now counts as none.
The disk alone knows what is there: a file's mtime is when it was last used, so nothing needs a database and
everything survives a restart. A file appears by ``rename``, whole or not at all. All but ``lacks`` and the
figures may wait for the disk and belong in a thread; any number of threads may call.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from icloudfs import ours
from icloudfs.cache.opening import open_file

_USED_AGAIN = 3600.0
"""Seconds after which another use is written down: the order is kept well enough, and readers write little."""


SEAL = hashlib.sha256().digest_size
"""Bytes that a file is longer than what it holds."""


class Shelf:
    """The files in one directory. Names are the caller's, and fit to be file names."""

    def __init__(self, directory: Path, most: int, most_bytes: int) -> None:
        self._directory = directory
        self._most = most
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] | None = None
        """By name, the least recently used first; None until the directory was looked through."""
        self.bytes = 0

    @property
    def count(self) -> int:
        """How many files there are, as far as that is known yet."""
        return len(self._sizes or ())

    def load(self) -> None:
        """Find out what is there, before anybody asks."""
        with self._lock:
            self._known()

    def lacks(self, name: str) -> bool:
        """Whether it is known that there is no such file. Does not wait, so a thread can be saved."""
        return self._sizes is not None and name not in self._sizes

    def get(self, name: str) -> bytes | None:
        """What the file of that name holds, which is used by that; None if there is none, or if it is not
        what was put there. Raises OSError."""
        with self._lock:
            sizes = self._known()
            if name not in sizes:
                return None
            sizes.move_to_end(name)
        path = self._path(name)
        try:
            with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
                content = _unsealed(name, file.read())
            self._note_use(path)
        except FileNotFoundError:
            self._forget(name)
            return None
        if content is None:
            self.drop(name)
        return content

    def put(self, name: str, content: bytes) -> None:
        """Keep ``content``, and let others go to make room. Raises OSError, and then nothing is changed."""
        sealed = content + _seal(name, content)
        path, new = self._path(name), self._directory / f".new-{threading.get_ident()}"
        # Also those above: somebody may have deleted them all.
        for directory in (self._directory.parent, self._directory, path.parent):
            ours.make_directory(directory)
        try:
            with os.fdopen(ours.open_file(new, os.O_WRONLY | os.O_TRUNC), "wb") as file:
                file.write(sealed)
            new.rename(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        with self._lock:
            sizes = self._known()
            self.bytes += len(sealed) - sizes.pop(name, 0)
            sizes[name] = len(sealed)
            leaving = self._too_much(sizes)
        for gone in leaving:
            self._path(gone).unlink(missing_ok=True)

    def drop(self, name: str) -> None:
        """The file is good for nothing."""
        self._forget(name)
        self._path(name).unlink(missing_ok=True)

    def _too_much(self, sizes: OrderedDict[str, int]) -> list[str]:
        leaving = []
        while len(sizes) > self._most or (self.bytes > self._most_bytes and len(sizes) > 1):
            name, size = sizes.popitem(last=False)
            self.bytes -= size
            leaving.append(name)
        return leaving

    def _forget(self, name: str) -> None:
        with self._lock:
            self.bytes -= self._known().pop(name, 0)

    def _note_use(self, path: Path) -> None:
        if not 0 <= time.time() - path.stat().st_mtime < _USED_AGAIN:
            os.utime(path)

    def _path(self, name: str) -> Path:
        return self._directory / name[2:4] / name

    def _known(self) -> OrderedDict[str, int]:
        if self._sizes is None:
            found = sorted(self._look_through())
            self._sizes = OrderedDict((name, size) for _, name, size in found)
            self.bytes = sum(self._sizes.values())
        return self._sizes

    def _look_through(self) -> list[tuple[float, str, int]]:
        found = []
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for entry in self._directory.iterdir():
            if not entry.is_dir():
                entry.unlink(missing_ok=True)  # somebody was killed while writing it
                continue
            for file in os.scandir(entry):
                with suppress(FileNotFoundError):
                    info = file.stat()
                    found.append((info.st_mtime, file.name, info.st_size))
        return found


def _seal(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + content).digest()


def _unsealed(name: str, sealed: bytes) -> bytes | None:
    content, seal = sealed[:-SEAL], sealed[-SEAL:]
    return content if _seal(name, content) == seal else None
