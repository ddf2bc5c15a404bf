"""Whether one downloaded content is on disk what its row says. In a thread, and without changing anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from icloudfs.apple import checksum as apple
from icloudfs.cache.holding import identity
from icloudfs.cache.opening import is_file, open_file
from icloudfs.cache.verify import digest, judge
from icloudfs.errors import ContentMismatch
from icloudfs.state.contents import Content

Verdict = Literal["present", "verified", "unverifiable", "missing", "wrong-size", "corrupt"]
"""present: there with the right size, its bytes not looked at."""

ODD_TYPE = "its checksum is of a type that cannot be checked"
BY_NAME = "it was imported by its name and size; --checksums proves it"
UNKNOWN_TYPE = "its checksum is of a type that cannot be checked, and nothing else is known of it"
ONLY_AS_BEFORE = (
    "its checksum is of a type that cannot be checked; by its SHA-256 it is what was downloaded"
)


class Judged(msgspec.Struct, frozen=True):
    """What was found."""

    row: Content
    verdict: Verdict
    reason: str = ""
    """Of everything but ``present`` and ``verified``."""
    seen: str = ""
    """Identity of the file that was looked at; '' if there is none."""
    sha256: str = ""

    @property
    def is_bad(self) -> bool:
        return self.verdict in ("missing", "wrong-size", "corrupt")


def look_at(row: Content, path: Path, count: Callable[[int], None]) -> Judged:
    """Whether it is there with the right size, and the one that was written; another is read. ``count`` is
    told of one item."""
    count(1)
    try:
        found = path.lstat()
    except OSError as error:
        return Judged(row, "missing", _gone(error))
    if not is_file(found):
        return Judged(row, "corrupt", "It is not a regular file.", identity(found))
    if (judged := _judge_outside(row, found)) is not None:
        return judged
    seen = identity(found)
    return (
        Judged(row, "present", seen=seen) if row.identity == seen else read(row, path, _uncounted)
    )


def read(row: Content, path: Path, count: Callable[[int], None]) -> Judged:
    """Whether it is what iCloud announced, byte for byte. ``count`` is told of the bytes."""
    try:
        fd = open_file(path, os.O_RDONLY)
    except OSError as error:
        return _closed_to_us(row, path, error)
    try:
        found = os.fstat(fd)
        return _judge_outside(row, found) or _judge_content(row, fd, identity(found), count)
    except OSError as error:
        return Judged(row, "corrupt", f"It cannot be read: {error.strerror}.", identity(found))
    finally:
        os.close(fd)


def _uncounted(size: int) -> None:
    """It was counted as an item."""


def _closed_to_us(row: Content, path: Path, error: OSError) -> Judged:
    try:
        seen = identity(path.lstat())
    except OSError:
        return Judged(row, "missing", _gone(error))
    return Judged(row, "corrupt", f"It cannot be read: {error.strerror}.", seen)


def _gone(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "The file is gone."
    return f"The file cannot be reached: {error.strerror}."


def _judge_outside(row: Content, found: os.stat_result) -> Judged | None:
    """The verdict, if size and time of change are enough for one."""
    seen = identity(found)
    if found.st_size != row.size:
        told = f"Expected {row.size} bytes, found {found.st_size}."
        return Judged(row, "wrong-size", told, seen)
    if row.imported and row.identity != seen:
        return Judged(row, "corrupt", "It was written to after it was imported.", seen)
    return None


def _judge_content(row: Content, fd: int, seen: str, count: Callable[[int], None]) -> Judged:
    found = digest(fd, count)
    try:
        is_proven = judge(row.checksum, row.size, found)
    except ContentMismatch as error:
        return Judged(row, "corrupt", str(error), seen)
    if row.sha256 and row.sha256 != found.sha256:
        told = f"Expected SHA-256 {row.sha256}, found {found.sha256}."
        return Judged(row, "corrupt", told, seen)
    if is_proven:
        return Judged(row, "verified", seen=seen, sha256=found.sha256)
    return Judged(row, "unverifiable", ONLY_AS_BEFORE if row.sha256 else UNKNOWN_TYPE, seen)


def never_proven(row: Content) -> str:
    """Why a content was not even checked when it came; '' if it was."""
    if row.verified:
        return ""
    return BY_NAME if apple.is_checkable(row.checksum) else ODD_TYPE
