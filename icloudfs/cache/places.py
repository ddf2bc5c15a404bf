"""Where content lies below the cache directory.

    content/xx/<checksum>    whole and verified; xx are the third and fourth letter of the checksum
    partial/<checksum>.<new> a sparse file of the full size, with holes where nothing was fetched yet
    leaving/<number>         evicted or orphaned, about to be unlinked
    thumbnails/xx/<checksum> Apple's small JPEG of that content (thumbnails.py)

A file moves between the first three by ``rename``, so all of them are on one filesystem. A part has a name
that no other ever had: after a power cut the database may be some commits behind, and what it says of a part
must not be taken for what another file of that content holds.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from icloudfs import ours
from icloudfs.cache.disk import Disk
from icloudfs.cache.filesystems import is_prompt_at
from icloudfs.cache.opening import open_file
from icloudfs.errors import CacheUnusable

_CACHEDIR_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Photos that icloudfs fetched from iCloud. Backups may leave this directory out;\n"
    "# see https://bford.info/cachedir/\n"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{4,120}={0,2}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{4,120}={0,2}")
_PART = re.compile(r"\.[0-9a-f]{16}$")
_IN_USE = "in-use"
_WHICH = "which"
_TOLD_APART = 32
"""Bytes that tell a directory from every other."""


class Places:
    """The paths of one cache directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.content = self.directory / "content"
        self.partial = self.directory / "partial"
        self.leaving = self.directory / "leaving"
        self.thumbnails = self.directory / "thumbnails"
        self._mine = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._numbers = itertools.count()
        self.disk = Disk()
        """That of the directory."""
        self.elsewhere = Disk()
        """Those of the files that are used where they lie."""
        self.which = ""
        """Tells the directory from one that was at its path before, or will be: set by ``prepare``."""
        self.is_prompt = False
        """Whether what is in memory of the directory's files can be had without waiting for anybody."""

    def prepare(self) -> bool:
        """Make the directories; True if the last use of them was not ended by ``leave``.

        Raises CacheUnusable.
        """
        try:
            ours.make_directory(self.directory)
            objection = ours.objection(self.directory) or ours.objection_above(self.directory)
            if objection:
                raise CacheUnusable(
                    f"The cache directory {self.directory} cannot be used: {objection}."
                )
            for below in (self.content, self.partial, self.leaving):
                ours.make_directory(below)
            tag = self.directory / "CACHEDIR.TAG"
            if not tag.exists():
                with open(tag, "w", opener=ours.open_file) as file:
                    file.write(_CACHEDIR_TAG)
            self.is_prompt = is_prompt_at(self.content)
            self.which = self._look_which()
            return self._enter()
        except OSError as error:
            raise CacheUnusable(
                f"The cache directory {self.directory} cannot be used: {error.strerror}."
            ) from error

    def _look_which(self) -> str:
        """What the directory says of itself; a new one is told it."""
        descriptor = open_file(self.directory / _WHICH, os.O_RDWR | os.O_CREAT, ours.FILE)
        try:
            ours.close_to_others(descriptor)
            told = os.pread(descriptor, _TOLD_APART, 0)
            if len(told) < _TOLD_APART:
                told = secrets.token_hex(_TOLD_APART // 2).encode()
                os.pwrite(descriptor, told, 0)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return told.hex()

    def _enter(self) -> bool:
        # Written anew each time: this is also the proof that files can be made here.
        mark = self.directory / _IN_USE
        unclean = os.path.lexists(mark)
        descriptor = open_file(mark, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, ours.FILE)
        ours.close_to_others(descriptor)
        os.close(descriptor)
        # On the disk before anything else is: what a power cut leaves has to be looked through.
        for path in (mark, self.directory):
            _sync(path)
        return unclean

    def open_new(self, path: str) -> int:
        """A descriptor of a file that nobody else has, at a path as it stands in the database. Should somebody
        have deleted the directory meanwhile, it is made anew.

        Raises OSError, TooManyOpenFiles, CacheUnusable.
        """
        how = os.O_RDWR | os.O_CREAT | os.O_EXCL
        try:
            return open_file(self.absolute(path), how)
        except FileNotFoundError:
            self.prepare()
            return open_file(self.absolute(path), how)

    def leave(self) -> None:
        """Everything that lies here is in the database. A disk that does not let the mark go has the next start
        look through it."""
        with suppress(OSError):
            (self.directory / _IN_USE).unlink(missing_ok=True)

    def new_part(self, checksum: str) -> str:
        """A path for a file of that content, relative to the directory, which none ever had."""
        return f"partial/{file_name(checksum)}.{secrets.token_hex(8)}"

    def content_path(self, checksum: str) -> str:
        """Relative to the directory, as it stands in the database."""
        name = file_name(checksum)
        # Every checksum begins with its type, so the first letters would not spread the files.
        return f"content/{name[2:4]}/{name}"

    def absolute(self, path: str) -> Path:
        """Where a path of the database lies; that of an imported file is absolute already."""
        return self.directory / path

    def next_leaving(self) -> Path:
        """A path that nothing else has, for a file on its way out."""
        return self.leaving / f"{self._mine}-{next(self._numbers)}"

    def left_behind(self) -> list[Path]:
        """What others did not come to unlink before they ended; not what is on its way out just now."""
        return [path for path in self.leaving.iterdir() if not path.name.startswith(self._mine)]


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def checksum_of(name: str) -> str | None:
    """The checksum that a file is named after; None for a name that does not tell."""
    name = content_name(name)
    if _FILE_NAME.fullmatch(name) is None:
        return None
    return name.replace("-", "+").replace("_", "/")


def content_name(name: str) -> str:
    """What the whole content is called of which a file in the cache directory is a part, or the whole."""
    return _PART.sub("", name)


def file_name(checksum: str) -> str:
    """What a file with that checksum is called, whatever a server sends for one."""
    if _BASE64.fullmatch(checksum):
        return checksum.replace("+", "-").replace("/", "_")
    # Nothing that a server sends may become a path as it is.
    return "~" + hashlib.sha256(checksum.encode()).hexdigest()
