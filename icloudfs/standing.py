"""How a mounted library stands, in a line: what ``systemctl status`` shows."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

import trio

from icloudfs.errors import IcloudfsError, LoginNeeded, Offline
from icloudfs.library import Library
from icloudfs.progress import IDLE
from icloudfs.state.summary import visible_photos
from icloudfs.sync.schedule import Schedule
from icloudfs.tree.changes import Change, InodeChanged
from icloudfs.trust import Trust

SIGN_IN_AGAIN = "sign in again: icloudfs login"

_LOOK_EVERY = 1.0
"""Seconds between two looks whether something has changed."""


class Standing:
    """Of one library and the schedule that keeps it current."""

    def __init__(self, library: Library, schedule: Schedule) -> None:
        self._library = library
        self._schedule = schedule
        self._photos = 0
        self._is_counted = False

    def changed(self, changes: Sequence[Change]) -> None:
        """These changes are in the database."""
        if not all(isinstance(change, InodeChanged) for change in changes):
            self._is_counted = False

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
        """Anew only when something has come or gone: it is a walk through all photos."""
        if self._schedule.went_well_at is not None and not self._is_counted:
            self._is_counted = True
            self._photos = await self._library.database.read(visible_photos)

    def _text(self) -> str:
        trouble = (
            self._library.database.trouble
            or self._library.icloud.person_needed
            or self._schedule.last_error
        )
        if trouble is not None:
            return _of_trouble(trouble)
        if not self._library.listed.is_set():
            return f"not complete yet: {self._doing()}"
        if self._library.now != IDLE:
            return self._doing()
        if self._schedule.went_well_at is None:
            return self._doing()
        when = datetime.fromtimestamp(self._schedule.went_well_at).astimezone().strftime("%X")
        told = f"{self._photos} photos, as iCloud had them at {when}"
        if refused := len(self._library.refused):
            told += f"; {refused} parts refused: icloudfs status"
        trust, now = Trust.of(self._library.icloud.store.session), time.time()
        return f"{told}; {trust.complaint(now)}" if trust.ends_soon(now) else told

    def _doing(self) -> str:
        now = self._library.now
        return "looking at iCloud" if now == IDLE else str(now)


def _of_trouble(error: IcloudfsError) -> str:
    match error:
        case LoginNeeded():
            return f"{SIGN_IN_AGAIN} ({error})"
        case Offline():
            return f"no network, what is cached can be read ({error})"
    return f"{error} {error.hint}".rstrip()
