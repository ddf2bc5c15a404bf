"""What the mount asks on behalf of file managers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from icloudfs.desktop.pictures import upright_jpeg
from icloudfs.errors import IcloudfsError
from icloudfs.tree.directory import File

log = logging.getLogger(__name__)

Picture = Callable[[File], Awaitable[bytes]]
"""Apple's small JPEG of what a file shows, as ``Cache.thumbnail`` gives it."""

DEADLINE = 10.0
"""Seconds for one attribute: whoever waits for it cannot be killed."""


class Desktop:
    """Answers about small pictures. None of it reads an original."""

    def __init__(
        self,
        picture: Picture,
        opened: Callable[[int], None] | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        """``opened`` is told of every folder that the owner of the mount opens."""
        self._picture = picture
        self._opened = opened
        self._deadline = deadline

    def opened(self, folder: int) -> None:
        """The owner of the mount opened a folder, and may soon look at thumbnails."""
        if self._opened is not None:
            self._opened(folder)

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
