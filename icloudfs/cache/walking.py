"""The files of a person's directory, however deep, in the order in which the disk gives them.

Only regular files are looked at, and no symbolic link is followed: so there are no loops, and nothing
outside the directory is read. Our own mounts are passed over by name, without asking them anything: a
walk through the daemon's own mount would read the library from iCloud.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Generator, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from icloudfs.cache.holding import identity
from icloudfs.errors import IcloudfsError
from icloudfs.mountinfo import mounts


class Seen(msgspec.Struct, frozen=True):
    """A regular file, as the walk found it."""

    path: bytes
    """Absolute; names need not be UTF-8."""
    size: int
    identity: str

    @property
    def shown(self) -> str:
        return shown(self.path)


class Walk:
    """One walk. Its methods block and belong in a thread, one at a time."""

    def __init__(self, root: Path, passed_over: Collection[Path]) -> None:
        """``passed_over``: directories to leave out, besides our mounts. Raises IcloudfsError."""
        self.unreadable: list[str] = []
        """What could not be read, with the reason."""
        self._root = os.fsencode(_resolved(root))
        ours = our_mounts()
        if any(_is_within(self._root, mount) for mount in ours):
            raise IcloudfsError(
                f"{root} lies in the mounted library itself.",
                hint="Choose a directory with photos that were copied from iCloud.",
            )
        self._passed_over = ours | {os.fsencode(path.resolve()) for path in passed_over}
        self._files = self._walk()

    def next(self, most: int) -> list[Seen]:
        """Up to ``most`` files more; none at the end."""
        return list(islice(self._files, most))

    def close(self) -> None:
        """Nothing more is wanted."""
        self._files.close()

    def _walk(self) -> Generator[Seen, None, None]:
        waiting = [self._root]
        while waiting:
            directory = waiting.pop()
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            if entry.path not in self._passed_over:
                                waiting.append(entry.path)
                        elif entry.is_file(follow_symlinks=False):
                            yield from self._file(entry)
            except OSError as error:
                self._note(directory, error)

    def _file(self, entry: os.DirEntry[bytes]) -> Iterator[Seen]:
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError as error:
            self._note(entry.path, error)
            return
        if stat.S_ISREG(found.st_mode):
            yield Seen(entry.path, found.st_size, identity(found))

    def _note(self, path: bytes, error: OSError) -> None:
        self.unreadable.append(f"{shown(path)}: {error.strerror}")


def shown(path: bytes) -> str:
    """A path as it can be printed and sent, whatever its bytes are."""
    return path.decode("utf-8", "replace")


def our_mounts() -> set[bytes]:
    """Where libraries are mounted, as the kernel tells it."""
    return {os.fsencode(mounted.path) for mounted in mounts() if mounted.ours}


def _is_within(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def _resolved(root: Path) -> Path:
    try:
        found = root.resolve(strict=True)
    except OSError as error:
        raise IcloudfsError(f"{root} cannot be read: {error.strerror}.") from error
    if not found.is_dir():
        raise IcloudfsError(f"{root} is not a directory.")
    return found
