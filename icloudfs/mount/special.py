"""The few files that file managers look for in a root, served from memory.

They are found by name and never listed: they are not photos, so no copy, backup or count meets them.
Every other name that programs try (``.Trash``, ``.git``, ``autorun.inf``) is missing, and remembered so.
Inode numbers 2 to 999 are theirs; the tree's begin at 2^32.
"""

from __future__ import annotations

import json
import os

from icloudfs.mount.settings import MountSettings
from icloudfs.tree import modes
from icloudfs.tree.directory import Inode

HIDDEN = b".hidden"
VOLUME_INFO = b".xdg-volume-info"
DIRECTORY = b".directory"
DAEMON = b".icloudfs"

_MODES = {DAEMON: modes.PRIVATE_FILE}
_FIRST_INO = 2


class SpecialFile:
    """A file whose bytes are in memory; an open one, too (it is its own OpenFile)."""

    verified = True

    def __init__(self, ino: int, data: bytes, mode: int = modes.FILE) -> None:
        self._data = data
        # Times never change, or backups would read it anew each time.
        self.inode = Inode(ino, mode, len(data), 0, 0, 1)

    async def until_opened(self) -> None:
        """It is."""

    def read_now(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    async def read(self, offset: int, size: int) -> bytes:
        return self.read_now(offset, size)

    async def until_verified(self) -> None:
        """It is."""

    def close(self) -> None:
        """Nothing to let go of."""


class SpecialFiles:
    """All of them, by name in the root and by inode number."""

    def __init__(self, settings: MountSettings) -> None:
        texts = {
            # One name a line, not shown by Nautilus, Thunar, Dolphin, PCManFM-Qt (facts/desktop.md §2.3).
            HIDDEN: "Hidden\nRecently Deleted\n",
            # The sidebar entry in Nautilus and Thunar.
            VOLUME_INFO: "[Volume Info]\nName=iCloud Photos\nIcon=folder-pictures\n",
            # The folder's icon in Dolphin and PCManFM.
            DIRECTORY: "[Desktop Entry]\nType=Directory\nIcon=folder-pictures\n",
            # Who serves this mount: `icloudfs unmount` waits for that process to end. For its owner alone.
            DAEMON: json.dumps({"account": settings.account, "pid": os.getpid()}) + "\n",
        }
        self._by_name = {
            name: SpecialFile(ino, text.encode(), _MODES.get(name, modes.FILE))
            for ino, (name, text) in enumerate(texts.items(), _FIRST_INO)
        }
        self._by_ino = {file.inode.ino: file for file in self._by_name.values()}

    def named(self, name: bytes) -> SpecialFile | None:
        return self._by_name.get(name)

    def numbered(self, ino: int) -> SpecialFile | None:
        return self._by_ino.get(ino)
