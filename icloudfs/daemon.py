"""The daemon: one account, its state, its cache, its mount, put together.

    iCloud ── Sync ──▶ Database ──▶ Directory ──▶ Operations ◀──▶ kernel
       └──── Cache ────▲ (content)                    ▲
                └──────────── open files ─────────────┘

Everything runs in one nursery and ends with the mount.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from icloudfs.apple import Endpoints, ICloud, SessionStore, for_region
from icloudfs.cache.cache import Cache
from icloudfs.cache.source import ICloudSource
from icloudfs.config import Settings, make_state_directory
from icloudfs.errors import LoginNeeded
from icloudfs.mount import mounting
from icloudfs.mount.kernel import Kernel
from icloudfs.mount.operations import Operations
from icloudfs.mount.settings import MountSettings
from icloudfs.mount.volume import Volume
from icloudfs.mount.xattrs import Xattrs
from icloudfs.passwords import kept_password
from icloudfs.progress import Progress
from icloudfs.state import catalogue
from icloudfs.state.database import Database, database_path
from icloudfs.state.lock import WriterLock
from icloudfs.state.runs import Figures
from icloudfs.sync.books import one_error
from icloudfs.sync.pages import Tree
from icloudfs.sync.rebuilding import rebuild_if_changed
from icloudfs.sync.schedule import Schedule
from icloudfs.sync.sync import Sync
from icloudfs.tree.changes import Change, InodeChanged
from icloudfs.tree.directory import Directory

log = logging.getLogger(__name__)

_PAUSE_AFTER_BUG = 30.0
"""Seconds until a task that failed in an unforeseen way is begun again."""


def endpoints(settings: Settings) -> Endpoints:
    """Where this account's iCloud is: Apple's, or a simulator's."""
    return Endpoints.at(settings.endpoint) if settings.endpoint else for_region(settings.region)


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[ICloud]:
    """iCloud, for one account, with its kept session. Makes no call by itself."""

    async def password() -> str | None:
        return await kept_password(settings)

    store = SessionStore(settings.cookie_directory, settings.username)
    async with ICloud(store, endpoints(settings), settings.username, password=password) as icloud:
        yield icloud


def tree_of(settings: Settings) -> Tree:
    """How the tree is built, by the settings."""
    return Tree(views=frozenset(settings.views), clock=lambda: int(time.time() * 1000))


async def sync_once(settings: Settings, report: Callable[[Progress], None]) -> Figures:
    """List, or apply what changed, without a mount; what it came to.

    Raises AlreadyRunning beside a daemon, and whatever a sync raises.
    """
    directory = make_state_directory(settings)
    with one_error(), WriterLock(directory, settings.username, "sync"):
        database = Database(database_path(settings.cookie_directory, settings.username))
        try:
            async with connected(settings) as icloud:
                await rebuild_if_changed(database, tree_of(settings), lambda _: None)
                await icloud.ensure_session()
                return await Sync(
                    database,
                    icloud,
                    tree_of(settings),
                    connections=settings.connections,
                    report=report,
                ).run()
        finally:
            database.close()


async def serve(settings: Settings, mount_point: Path, ready: Callable[[], None]) -> None:
    """Mount and serve until unmounted; ``ready`` is called when the mount answers.

    Raises MountPointError, AlreadyRunning, CacheUnusable, LoginNeeded if there is nothing to show and
    nobody signed in, and the errors of the database.
    """
    purpose = f"mounted on {mount_point}"
    directory = make_state_directory(settings)
    with one_error(), WriterLock(directory, settings.username, purpose):
        database = Database(database_path(settings.cookie_directory, settings.username))
        try:
            async with connected(settings) as icloud:
                await _prepare(database, icloud, settings)
                await _Daemon(database, icloud, settings).run(mount_point, ready)
        finally:
            database.close()


async def _prepare(database: Database, icloud: ICloud, settings: Settings) -> None:
    """Have something to show, or the prospect of it. A library that is known needs no network."""
    if any(zone.listed for zone in catalogue.zones(database.reader)):
        await rebuild_if_changed(database, tree_of(settings), lambda _: None)
        return
    if not icloud.store.session.is_usable:
        raise LoginNeeded(f"Nobody is signed in as {settings.username}.")
    await icloud.ensure_session()


class _Daemon:
    """The tasks around one mount."""

    def __init__(self, database: Database, icloud: ICloud, settings: Settings) -> None:
        self._settings = settings
        self._database = database
        self._directory = Directory(database.reader)
        self._cache = Cache(
            settings.account_cache(),
            database,
            ICloudSource(icloud, settings.timeout),
            limit=settings.cache_limit,
            whole_below=settings.stream_above,
            strict=settings.verify == "strict",
            timeout=settings.timeout,
            on_content_changed=self._content_changed,
        )
        self._schedule = Schedule(
            Sync(
                database,
                icloud,
                tree_of(settings),
                connections=settings.connections,
                publish=self._publish,
            ),
            settings.interval,
        )
        self._operations = Operations(
            _mount_settings(settings),
            self._directory,
            self._cache,
            Xattrs(database.reader),
            Volume(database.path, settings.account_cache()),
        )
        self._changes, self._to_kernel = trio.open_memory_channel[list[Change]](math.inf)

    async def run(self, mount_point: Path, ready: Callable[[], None]) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._cache.run)

            def mounted() -> None:
                nursery.start_soon(self._keep_going, self._tell_kernel)
                nursery.start_soon(self._keep_going, self._schedule.run)
                ready()

            await mounting.serve(mount_point, self._operations, ready=mounted)
            nursery.cancel_scope.cancel()

    async def _keep_going(self, task: Callable[[], Awaitable[None]]) -> None:
        """A bug in what runs beside the mount must not take the mount away: note it, begin again."""
        while True:
            try:
                with one_error():
                    await task()
                return
            except Exception:
                log.exception("%s failed in an unforeseen way", task.__qualname__)
                await trio.sleep(min(self._settings.interval, _PAUSE_AFTER_BUG))

    def _publish(self, changes: list[Change]) -> None:
        if changes:
            self._changes.send_nowait(changes)

    async def _tell_kernel(self) -> None:
        kernel = Kernel(self._directory)
        async for changes in self._to_kernel:
            await kernel.apply(changes)

    def _content_changed(self, checksum: str) -> None:
        inodes = self._database.reader.execute(
            "SELECT ino FROM inode WHERE checksum = ?", (checksum,)
        )
        self._publish([InodeChanged(int(str(ino)), content=True) for (ino,) in inodes])


def _mount_settings(settings: Settings) -> MountSettings:
    return MountSettings(
        account=settings.username,
        uid=os.getuid() if settings.uid is None else settings.uid,
        gid=os.getgid() if settings.gid is None else settings.gid,
        umask=settings.umask,
        allow_other=settings.allow_other,
        xattrs=not settings.noxattr,
    )
