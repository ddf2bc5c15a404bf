"""What the mount asks of the cache: an open file whose bytes are here, or can be waited for."""

from __future__ import annotations

from typing import Protocol

from icloudfs.tree.directory import File


class OpenFile(Protocol):
    """One open file. Offsets and sizes in bytes; a read ends early only at the end of the file."""

    @property
    def verified(self) -> bool:
        """Whether every byte is here and was checked: no read can wait for the network."""

    async def until_opened(self) -> None:
        """Wait until ``verified`` is known, if a disk has to be asked. Has a deadline; raises ContentError."""

    def read_now(self, offset: int, size: int) -> bytes | None:
        """The bytes if they can be had without waiting, else None. Called inline."""

    async def read(self, offset: int, size: int) -> bytes:
        """The bytes, waited for. Has a deadline: a process in a read cannot be killed (facts/fuse.md §0.4).

        Raises ContentError and its kin, Offline, Throttled, LoginNeeded.
        """

    async def until_verified(self) -> None:
        """Have every byte here and checked; nothing of a file that streams, which is too large for that.

        Raises as ``read``.
        """

    def close(self) -> None:
        """The last descriptor of this open is closed."""


class Contents(Protocol):
    """Where the bytes of files come from."""

    def open(self, file: File) -> OpenFile:
        """Open ``file``. Called inline: neither network nor waiting. Raises like ``OpenFile.read``."""
