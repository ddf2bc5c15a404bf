"""What the mount asks on behalf of file managers."""

from __future__ import annotations

from typing import Protocol

from icloudfs.tree.directory import File


class Desktop(Protocol):
    """Small pictures of files."""

    async def thumbnail(self, file: File) -> bytes | None:
        """A small JPEG of what ``file`` shows; None if none can be had now. Has a deadline."""

    def opened(self, folder: int) -> None:
        """The owner of the mount opened a folder. Called inline: does not wait for anything."""


class NoDesktop:
    """There are none."""

    def opened(self, folder: int) -> None:
        """Nobody cares."""

    async def thumbnail(self, file: File) -> bytes | None:  # noqa: ARG002
        return None
