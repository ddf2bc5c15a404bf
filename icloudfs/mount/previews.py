"""Previews: who looks for a thumbnail before it lies there is made to wait for it.

Some programs look for all of a folder's once they have listed it (browsers.py): the folder opens for them
when its thumbnails lie. These waits come out of one purse (patience.py), and there is none while iCloud is
away.

KDE's KIO goes from file to file: it stats one, looks into the desktop's cache, and has a worker read the
original if the thumbnail is not there. It never looks again. So a listing of KIO's gets attributes that are
good for no time at all; each file's stat then arrives here, and is answered when its thumbnail lies or cannot
come. What is read nevertheless, the worker that would draw a thumbnail of its own is refused: nobody wants to
have downloaded what they only walked past. Who copies or views a photo is another program, and meets nothing
of this. Gwenview has KIO list its folders, but stats and reads by itself: it waits, and is refused nothing.

Each wait is bounded, and there is one a file and listing of KIO's, and one a folder that is opened.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import trio
from cachetools import TTLCache

from icloudfs.mount import patience
from icloudfs.mount.browsers import Browser, browser
from icloudfs.mount.desktop import Desktop
from icloudfs.mount.kio import Worker, worker
from icloudfs.mount.patience import Patience
from icloudfs.tree.directory import ROOT

_MOST = 20_000
_EXPECTED_FOR = 300.0
"""Files that were listed and not looked at: no window shows more, and after so many seconds they are files like
any other. Their thumbnails lie by then, if any come."""


class _Listing(NamedTuple):
    """A directory that a worker of KIO's has open."""

    folder: int
    thread: int


class Previews:
    """What the mount does for file managers on behalf of the owner's desktop."""

    def __init__(self, desktop: Desktop) -> None:
        self._desktop = desktop
        self._patience = Patience()
        self._listings: dict[int, _Listing] = {}
        # Between the root and all other directories, so that no number is a folder's too.
        self._numbers = itertools.count(ROOT + 1)
        self.expected: TTLCache[int, None] = TTLCache(_MOST, _EXPECTED_FOR, trio.current_time)
        """Files whose next stat may have to wait: what the kernel knows of them is good for no time."""

    # -- listing -----------------------------------------------------------------------------------

    async def open(self, folder: int, thread: int) -> int:
        """The handle of a folder that its owner opens: a number of its own if it is KIO, else the folder's.

        Returns when a browser may look.
        """
        if not self._desktop.lays:
            return folder
        if browser(thread) is Browser.BY_FOLDER:
            await self._spend_patience(self._desktop.laid_in, folder, patience.FOR_A_FOLDER)
        match await worker(thread):
            case Worker.FILES:
                number = next(self._numbers)
                self._listings[number] = _Listing(folder, thread)
                return number
            case Worker.THUMBNAILS:
                # It draws the folder's icon from the first thumbnails in there, and reads what has none.
                await _bounded(self._desktop.laid_on_icon(folder))
        return folder

    def listing(self, handle: int) -> int | None:
        """The folder, if the handle is a listing of KIO's."""
        listing = self._listings.get(handle)
        return None if listing is None else listing.folder

    def expect(self, ino: int) -> None:
        """A file is told to KIO."""
        self.expected[ino] = None

    def close(self, handle: int) -> None:
        self._listings.pop(handle, None)

    # -- looking at a file ---------------------------------------------------------------------------

    async def before_stat(self, ino: int, thread: int) -> None:
        """Let KIO, or who has it list folders, wait for the thumbnail of an expected file; not while it still
        lists the folder."""
        if any(listing.thread == thread for listing in self._listings.values()):
            return
        if await worker(thread) is Worker.FILES:
            await _bounded(self._desktop.laid(ino))
        elif browser(thread) is Browser.BY_FILE:
            await self._spend_patience(self._desktop.laid, ino, patience.PATIENCE)
        else:
            return
        self.expected.pop(ino, None)

    async def _spend_patience(
        self, laid: Callable[[int], Awaitable[None]], ino: int, most: float
    ) -> None:
        """Let a program wait that may be about something else, or whose window may stand still meanwhile."""
        if not self._desktop.is_away:
            with self._patience.spent(most):
                await laid(ino)

    async def refuses(self, thread: int) -> bool:
        """Whether this is a worker that would read all of a photo for its thumbnail."""
        return self._desktop.lays and await worker(thread) is Worker.THUMBNAILS


async def _bounded(laying: Awaitable[None]) -> None:
    with trio.move_on_after(patience.PATIENCE):
        await laying
