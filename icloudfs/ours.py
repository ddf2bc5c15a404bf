"""Files and directories that are ours alone, whatever umask we were started with.

What lies in them names every photo of a person, and is believed. So a file is made for its owner alone, and a
directory that others may write to, or in which links of theirs lie already, is none that we put anything into.
Root may do everything anyway: what is root's is as good as ours.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

FILE = 0o600
DIRECTORY = 0o700

_OTHERS_WRITE = 0o022
_ROOT = 0


def make_directory(path: Path) -> None:
    """Make a directory and those above it, as far as they are missing. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=DIRECTORY)
    try:
        path.mkdir(mode=DIRECTORY)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    path.chmod(DIRECTORY)  # a umask may have taken away what we need ourselves


def open_file(path: str | os.PathLike[str], flags: int) -> int:
    """A descriptor of a file, made if need be, that its owner alone may read and write. One that is there with
    other permissions gets these. Raises OSError."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, FILE)
    close_to_others(descriptor)
    return descriptor


def close_to_others(descriptor: int) -> None:
    """Have an open file, if it is one and ours, be its owner's alone. Raises OSError."""
    found = os.fstat(descriptor)
    is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
    if is_ours and stat.S_IMODE(found.st_mode) != FILE:
        os.fchmod(descriptor, FILE)


def objection(directory: Path) -> str | None:
    """Why nothing of ours may be put into ``directory``, as the end of a sentence; None if it may.

    Looks at the directory itself and at what lies in it, no deeper. Raises OSError.
    """
    found = directory.stat()
    if not _is_trusted(found):
        return "it belongs to another user"
    if stat.S_IMODE(found.st_mode) & _OTHERS_WRITE:
        return "other users may write to it ('chmod go-w' changes that)"
    if not _is_trusted(directory.lstat()):
        return "it is a link of another user's"
    with os.scandir(directory) as entries:
        for entry in entries:
            if _is_link_of_others(entry.stat(follow_symlinks=False)):
                return f"'{entry.name}' in it is a link of another user's"
    return None


def objection_above(directory: Path) -> str | None:
    """The same, because of the directory that it is in: who may write there, and the sticky bit is not set, may
    put another in its place. Raises OSError.

    A group that is the user's own may: where each user has one, what they make is their group's to write.
    """
    above = directory.parent
    found = above.stat()
    mode = stat.S_IMODE(found.st_mode)
    others = stat.S_IWOTH if found.st_gid == os.getegid() else _OTHERS_WRITE
    if mode & others and not mode & stat.S_ISVTX:
        return f"other users may write to {above} ('chmod go-w' changes that)"
    return None


def _is_trusted(found: os.stat_result) -> bool:
    return found.st_uid in (os.geteuid(), _ROOT)


def _is_link_of_others(found: os.stat_result) -> bool:
    """A symbolic link, or a file that has a name elsewhere, too."""
    is_link = stat.S_ISLNK(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink > 1)
    return is_link and not _is_trusted(found)
