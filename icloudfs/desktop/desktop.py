"""What the mount asks on behalf of file managers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from icloudfs.desktop.pictures import upright_jpeg
from icloudfs.errors import IcloudfsError
from icloudfs.tree.directory import File

log = logging.getLogger(__name__)

Picture = Callable[[File], Awaitable[bytes]]
"""Apple's small JPEG of what a file shows, as ``Cache.thumbnail`` gives it."""

DEADLINE = 10.0
"""Seconds for one attribute: whoever waits for it cannot be killed."""


class Layer(Protocol):
    """Who lays thumbnails out, as the seeder does."""

    @property
    def lays(self) -> bool: ...

    @property
    def is_away(self) -> bool: ...

    def opened(self, folder: int) -> None: ...

    async def laid(self, ino: int) -> None: ...

    async def laid_on_icon(self, folder: int) -> None: ...

    async def laid_in(self, folder: int) -> None: ...


class Desktop:
    """Answers about small pictures. None of it reads an original."""

    def __init__(
        self, picture: Picture, layer: Layer | None = None, deadline: float = DEADLINE
    ) -> None:
        self._picture = picture
        self._layer = layer
        self._deadline = deadline

    @property
    def lays(self) -> bool:
        """Whether thumbnails are laid out for the owner of the mount."""
        return self._layer is not None and self._layer.lays

    @property
    def is_away(self) -> bool:
        """Whether iCloud did not answer when it was last asked."""
        return self._layer is not None and self._layer.is_away

    def opened(self, folder: int) -> None:
        """The owner of the mount opened a folder, and may soon look at thumbnails."""
        if self._layer is not None:
            self._layer.opened(folder)

    async def laid(self, ino: int) -> None:
        """Have a file's thumbnail laid out before all others; returns when it is, or cannot be."""
        if self._layer is not None:
            await self._layer.laid(ino)

    async def laid_on_icon(self, folder: int) -> None:
        """The same for those that are drawn on the icon of a folder."""
        if self._layer is not None:
            await self._layer.laid_on_icon(folder)

    async def laid_in(self, folder: int) -> None:
        """The same for the files of a folder, by the order of their names."""
        if self._layer is not None:
            await self._layer.laid_in(folder)

    async def thumbnail(self, file: File) -> bytes | None:
        """A small JPEG of what ``file`` shows, upright and small enough for an attribute.

        None if there is none, or none can be had now.
        """
        try:
            with trio.fail_after(self._deadline):
                jpeg = await self._picture(file)
                return await trio.to_thread.run_sync(upright_jpeg, jpeg)
        except (IcloudfsError, trio.TooSlowError) as error:
            log.debug("no small picture of %s: %s", file.checksum, error)
            return None
