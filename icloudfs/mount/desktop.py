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

    @property
    def lays(self) -> bool:
        """Whether thumbnails are laid out for the owner of the mount."""

    @property
    def is_away(self) -> bool:
        """Whether none can be had now, as far as is known: who waited would wait for nothing."""

    async def laid(self, ino: int) -> None:
        """Have a file's thumbnail laid out before all others; returns when it is, or cannot be."""

    async def laid_on_icon(self, folder: int) -> None:
        """The same for those that are drawn on the icon of a folder."""

    async def laid_in(self, folder: int) -> None:
        """The same for the files of a folder, by the order of their names."""


class NoDesktop:
    """There are none."""

    lays = False
    is_away = False

    def opened(self, folder: int) -> None:
        """Nobody cares."""

    async def laid(self, ino: int) -> None:
        """It never is."""

    async def laid_on_icon(self, folder: int) -> None:
        """They never are."""

    async def laid_in(self, folder: int) -> None:
        """Nor are these."""

    async def thumbnail(self, file: File) -> bytes | None:  # noqa: ARG002
        return None
