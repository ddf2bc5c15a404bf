"""How a mounted library stands, in a line: what ``systemctl status`` shows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime

import trio

from icloudfs.errors import IcloudfsError, LoginNeeded, Offline
from icloudfs.library import Library
from icloudfs.progress import IDLE
from icloudfs.state.summary import summarise
from icloudfs.sync.schedule import Schedule

SIGN_IN_AGAIN = "sign in again: icloudfs login"

_LOOK_EVERY = 1.0
"""Seconds between two looks whether something has changed."""


class Standing:
    """Of one library and the schedule that keeps it current."""

    def __init__(self, library: Library, schedule: Schedule) -> None:
        self._library = library
        self._schedule = schedule
        self._photos = 0
        self._counted_at: float | None = None

    async def texts(self) -> AsyncGenerator[str, None]:
        """The line as it is, and each time it changes. Never ends."""
        told = None
        while True:
            await self._count()
            text = self._text()
            if text != told:
                yield (told := text)
            await trio.sleep(_LOOK_EVERY)

    async def _count(self) -> None:
        """Once a sync: it is a walk through an index."""
        if self._counted_at != self._schedule.went_well_at:
            self._counted_at = self._schedule.went_well_at
            summary = await self._library.database.read(lambda c: summarise(c, runs=0))
            self._photos = summary.assets.visible

    def _text(self) -> str:
        trouble = self._library.icloud.person_needed or self._schedule.last_error
        if trouble is not None:
            return _of_trouble(trouble)
        if self._library.now != IDLE:
            return str(self._library.now)
        if self._counted_at is None:
            return "looking at iCloud"
        when = datetime.fromtimestamp(self._counted_at).astimezone().strftime("%X")
        return f"{self._photos} photos, as iCloud had them at {when}"


def _of_trouble(error: IcloudfsError) -> str:
    match error:
        case LoginNeeded():
            return f"{SIGN_IN_AGAIN} ({error})"
        case Offline():
            return f"no network, what is cached can be read ({error})"
    return f"{error} {error.hint}".rstrip()
