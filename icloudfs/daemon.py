"""The daemon: a library, open for as long as it is mounted.

    iCloud ── Sync ──▶ Database ──▶ Directory ──▶ Operations ◀──▶ kernel
       └──── Cache ────▲ (content)                    ▲
                └──────────── open files ─────────────┘

Everything runs in one nursery and ends with the mount.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
from functools import partial
from pathlib import Path

import trio

from icloudfs.aside import keep_going, say
from icloudfs.config import Settings
from icloudfs.control import messages
from icloudfs.desktop.desktop import Desktop
from icloudfs.desktop.seeder import Seeder
from icloudfs.desktop.seeds import DATABASE, Seeds, thumbnails_directory
from icloudfs.errors import IcloudfsError, LoginNeeded, NoPhotos, Offline, one_error
from icloudfs.library import Library, SyncResult, opened
from icloudfs.mount import answering, mount_table, mounting
from icloudfs.mount.acting import acting
from icloudfs.mount.background import Readiness
from icloudfs.mount.kernel import Kernel
from icloudfs.mount.live import Live
from icloudfs.mount.neighbours import Neighbours
from icloudfs.mount.operations import Operations
from icloudfs.mount.service import Service
from icloudfs.mount.settings import MountSettings
from icloudfs.mount.volume import Volume
from icloudfs.mount.xattrs import Xattrs
from icloudfs.notice import SignInNotice
from icloudfs.standing import Standing
from icloudfs.state import catalogue, lock
from icloudfs.sync.schedule import Schedule
from icloudfs.sync.sync import demand_photos
from icloudfs.tree.changes import Change
from icloudfs.tree.growth import Growth
from icloudfs.trust import Trust

log = logging.getLogger(__name__)

_THUMBNAIL_FIRST = 1.0
"""Seconds that a folder which is open may hear later of a new photo, so that its thumbnail is there by then."""

_LOOK_AT_TRUST = 60.0
"""Seconds between two looks whether the sign-in is to be made young again. A look asks no network."""

_LOOK_AT_STATE = 60.0
"""Seconds at most between two looks whether a state that is damaged is so still."""

_SHARE_OF_LOOKING = 20.0
"""Of a look's own time it rests from it: with a million photos one takes seconds."""

_TELL_AGAIN = 0.2
"""Seconds until the end of the first listing is told again, where the command had no room for it."""

_PAUSE_AFTER_BUG = 30.0
"""Seconds until a task that failed in an unforeseen way is begun again."""


async def serve(settings: Settings, mount_point: Path, readiness: Readiness) -> None:
    """Mount and serve until unmounted; ``readiness`` is told when the mount answers, and of the first listing.

    Raises MountPointError, AlreadyRunning, CacheUnusable, LoginNeeded if there is nothing to show and
    nobody signed in, and the errors of the database.
    """
    changes, to_kernel = trio.open_memory_channel[list[Change]](math.inf)

    def publish(changed: list[Change]) -> None:
        if changed:
            changes.send_nowait(changed)

    async with opened(settings, lock.mounted_on(mount_point), publish) as library:
        await _prepare(library)
        with one_error():
            await _Mount(library, to_kernel, mount_point).run(readiness)


async def _prepare(library: Library) -> None:
    """Have something to show, or the prospect of it. A library that is known needs no network."""
    if any(zone.listed for zone in catalogue.zones(library.database.reader)):
        await library.prepare()
        return
    if not library.icloud.store.session.is_usable:
        raise LoginNeeded(f"Nobody is signed in as {library.settings.username}.")
    await library.icloud.ensure_session()
    await _demand_photos(library)


async def _demand_photos(library: Library) -> None:
    """A folder that stays empty for good is of no use, nor is one that waits for somebody to sign in.
    Whatever else is in the way may pass."""
    try:
        await demand_photos(library.icloud.photos)
    except NoPhotos:
        raise
    except IcloudfsError as error:
        if library.icloud.person_needed is not None:
            raise
        log.info("whether there are photos is not known yet: %s", error)


class _Mount:
    """The tasks around one mount."""

    def __init__(
        self,
        library: Library,
        to_kernel: trio.MemoryReceiveChannel[list[Change]],
        mount_point: Path,
    ) -> None:
        self._library = library
        self._mount_point = mount_point
        self._to_kernel = to_kernel
        self._interval = library.settings.interval
        self._notice = SignInNotice(library.settings.username)
        self._schedule = Schedule(self._sync, self._interval)
        library.wake = self._schedule.wake
        self._service = Service()
        self._standing = Standing(library, self._schedule)
        self._neighbours = Neighbours(
            library.cache,
            library.database.path,
            up_to=library.settings.stream_above,
        )
        self._seeder = _seeder(library, mount_point)
        self._operations = Operations(
            _mount_settings(library.settings),
            library.directory,
            Growth(library.database.reader),
            self._neighbours if library.settings.neighbours else library.cache,
            Xattrs(library.database.reader),
            Volume(library.database.path, library.settings.account_cache()),
            self._desktop(),
            library.cache.echo.heard,
        )

    def _desktop(self) -> Desktop | None:
        if not self._library.settings.thumbnails:
            return None
        return Desktop(self._library.cache.thumbnail, self._seeder)

    async def run(self, readiness: Readiness) -> None:
        async with trio.open_nursery() as nursery:

            def mounted() -> None:
                self._library.is_mounted = True
                pause = min(self._interval, _PAUSE_AFTER_BUG)
                nursery.start_soon(keep_going, self._tell_kernel, pause)
                nursery.start_soon(keep_going, self._schedule.run, pause)
                nursery.start_soon(keep_going, self._stay_signed_in, pause)
                nursery.start_soon(keep_going, self._neighbours.run, pause)
                nursery.start_soon(keep_going, self._look_after_state, pause)
                if self._seeder is not None:
                    nursery.start_soon(keep_going, self._seeder.run, pause)
                if self._service.is_watched:
                    nursery.start_soon(keep_going, self._attend, pause)
                    nursery.start_soon(keep_going, self._tell_standing, pause)
                readiness.ready(listed=self._library.listed.is_set())
                nursery.start_soon(keep_going, partial(self._tell_of_listing, readiness), pause)

            await mounting.serve(
                self._mount_point, self._operations, ready=mounted, service=self._service
            )
            nursery.cancel_scope.cancel()

    async def _tell_of_listing(self, readiness: Readiness) -> None:
        """For as long as the first listing takes, tell whoever waits for it."""
        while readiness.is_awaited:
            try:
                readiness.listed(await self._library.until_listed(readiness.is_at))
            except IcloudfsError as error:
                readiness.failed(error)
            await trio.sleep(_TELL_AGAIN)

    async def _attend(self) -> None:
        stage = self._operations.stage
        await answering.attend(self._service, lambda: stage.mounted, self._library.listed)

    async def _tell_standing(self) -> None:
        async for text in self._standing.texts():
            self._service.stands(text)

    async def _sync(self) -> None:
        try:
            result = await self._library.sync(messages.Sync())
        except IcloudfsError as error:
            if isinstance(error, LoginNeeded):
                await self._notice.session_ran_out()
            if isinstance(error, Offline):
                self._library.cache.heard(error)
            if self._seeder is not None:
                self._seeder.is_away = True
            raise
        if isinstance(self._schedule.last_error, Offline):
            # It had said so. Otherwise its success tells nothing of the servers that have the content.
            self._library.cache.heard(None)
        self._notice.session_is_good()
        _log_sync(result)
        if self._seeder is not None:
            self._seeder.synced()

    async def _stay_signed_in(self) -> None:
        """Before each sync, and while one takes long or there is none for days."""
        icloud = self._library.icloud
        while True:
            await icloud.stay_signed_in()
            trust, now = Trust.of(icloud.store.session), time.time()
            if trust.ends_soon(now):
                await self._notice.trust_ends(trust.until, trust.complaint(now))
            await trio.sleep(_LOOK_AT_TRUST)

    async def _look_after_state(self) -> None:
        """See whether a state that was damaged is so still, and take little of the disk's time for it."""
        while True:
            began = trio.current_time()
            await self._library.database.look_again()
            took = trio.current_time() - began
            await trio.sleep(max(min(self._interval, _LOOK_AT_STATE), _SHARE_OF_LOOKING * took))

    async def _tell_kernel(self) -> None:
        directory, stage = self._library.directory, self._operations.stage
        async with acting(stage) as actor:
            kernel = Kernel(directory, Live(directory, stage, actor))
            async for changes in self._to_kernel:
                if self._seeder is not None:
                    # A program that hears of a photo looks for its thumbnail, and only then.
                    with trio.move_on_after(_THUMBNAIL_FIRST):
                        await self._seeder.laid_before_told(changes)
                try:
                    await kernel.apply(changes)
                except Exception as error:
                    say(error, "telling the kernel")
                    await kernel.forget(changes)
                self._standing.changed(changes)
                if self._seeder is not None:
                    self._seeder.changed(changes)


def _log_sync(result: SyncResult) -> None:
    """One that found nothing new is worth no line."""
    level = logging.INFO if result.seen or result.downloaded or result.failed else logging.DEBUG
    told = "synced: %d photos seen, %d files downloaded, %d failed, %d parts refused"
    figures = result.seen, result.downloaded, result.failed, len(result.refused)
    log.log(level, told, *figures, extra={"event": "sync.done"})


def _seeder(library: Library, mount_point: Path) -> Seeder | None:
    """Who lays out thumbnails; nobody does for a user without a home."""
    thumbnails = thumbnails_directory()
    if thumbnails is None or not library.settings.thumbnails:
        return None
    database = library.settings.account_cache() / DATABASE
    gwenview = shutil.which("gwenview") is not None
    seeds = Seeds(database, thumbnails, mount_table.absolute(mount_point), gwenview=gwenview)
    seeder = Seeder(seeds, library.directory, library.cache.thumbnail)
    library.seeding = lambda: seeder.figures
    return seeder


def _mount_settings(settings: Settings) -> MountSettings:
    return MountSettings(
        account=settings.username,
        uid=os.getuid() if settings.uid is None else settings.uid,
        gid=os.getgid() if settings.gid is None else settings.gid,
        umask=settings.umask,
        allow_other=settings.allow_other,
        labels=settings.labels,
        xattrs=not settings.noxattr,
    )
