"""Whether a directory is our own mount, shown once more by somebody else.

mergerfs, bindfs, overlayfs, or an NFS or Samba server of this machine may show the mounted library at another
place. A file that is used where it lies must not come from there: to read it we would wait for them, they for
the mount, and the mount for us, beyond ``kill -9``.

No table tells. So a name that nobody has ever heard is called into the directory; if the mount is asked for
that very name, it is the mount. A program calls, not a thread of ours: who waits for himself in the kernel
keeps the connection open for which others wait, and can be neither killed nor ended.
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Collection
from pathlib import Path

import trio
from cachetools import TTLCache

from icloudfs.cache.filesystems import answer_from_memory, may_show_another
from icloudfs.errors import DiskSilent

PREFIX = b".icloudfs-"
"""What every name that is called begins with."""

_PROGRAM = "stat"

_PATIENCE = 10.0
"""Seconds for an answer."""

_BELIEVED = 60.0
"""Seconds that an answer is good for: who merges directories may merge others by then."""

_REMEMBERED = 4096


class Echo:
    """Calls into directories, and hears what the mount is asked for."""

    def __init__(self) -> None:
        self._called: dict[bytes, bool] = {}
        self._known: TTLCache[bytes, bool] = TTLCache(_REMEMBERED, _BELIEVED, trio.current_time)

    def heard(self, name: bytes) -> None:
        """The mount is asked for ``name``."""
        if name in self._called:
            self._called[name] = True

    async def is_ours(self, file: bytes) -> bool:
        """Whether the file at the absolute path is in a directory that the mount serves, or may serve without
        being asked for names. Raises DiskSilent."""
        directory = {directory_of(file)}
        return bool(answer_from_memory(directory) or await self.ours(directory))

    async def ours(self, directories: Collection[bytes]) -> set[bytes]:
        """Those of the directories, absolute, that the mount serves.

        Raises DiskSilent if one does not answer: then it is not known.
        """
        answers = {each: self._known.get(each) for each in directories}
        unknown = [each for each, is_ours in answers.items() if is_ours is None]
        if asked := list(may_show_another(unknown)):
            found = await self._call(asked)
            told = {each: each in found for each in asked}
            answers |= told
            self._known.update(told)
        return {each for each, is_ours in answers.items() if is_ours}

    async def _call(self, directories: list[bytes]) -> set[bytes]:
        names = {PREFIX + secrets.token_hex(16).encode(): each for each in directories}
        self._called |= dict.fromkeys(names, False)
        try:
            if not await _look_for([each + b"/" + name for name, each in names.items()]):
                raise DiskSilent(f"The directory has not answered for {_PATIENCE:g} seconds.")
            return {directory for name, directory in names.items() if self._called[name]}
        finally:
            for name in names:
                del self._called[name]


def directory_of(file: bytes) -> bytes:
    """Where the file at the absolute path lies."""
    return file.rpartition(b"/")[0] or b"/"


async def _look_for(paths: list[bytes]) -> bool:
    """Have a program look whether there are such files; whether it came to an end."""
    process = await trio.lowlevel.open_process(
        [_PROGRAM, "--", *paths],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path("/"),
    )
    try:
        with trio.move_on_after(_PATIENCE):
            await process.wait()
            return True
    finally:
        if process.returncode is None:
            process.kill()  # and not waited for: it may wait for ever
    return False
