"""One account's library, open for writing: what every command that changes something does.

Whoever opens it holds the writer's lock and answers on the control socket: the daemon of a mount for as
long as it is mounted, a command for as long as it runs. A command that finds the lock taken asks there.

    perform ─┬─ somebody holds the lock ── control.client ──▶ their Library.handle
             └─ nobody does ── opened ──────────────────────▶ our Library.handle
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import trio

from icloudfs.apple import ICloud
from icloudfs.cache.audit import verify
from icloudfs.cache.cache import Cache
from icloudfs.cache.importing import ImportResult, import_existing
from icloudfs.cache.prefetching import PrefetchResult
from icloudfs.cache.source import ICloudSource
from icloudfs.config import Settings, make_state_directory
from icloudfs.connection import connected
from icloudfs.control import client, messages, server
from icloudfs.control.messages import Request
from icloudfs.control.socket import socket_path
from icloudfs.errors import (
    AlreadyRunning,
    ConfigError,
    IcloudfsError,
    NeverListed,
    StateDamaged,
    WrongClock,
    one_error,
)
from icloudfs.progress import IDLE, Note, Progress, Report, to_nobody
from icloudfs.state import completeness, contents, lock, runs
from icloudfs.state.database import Database, database_path
from icloudfs.state.lock import WriterLock
from icloudfs.state.summary import knows_a_library
from icloudfs.sync.mirror import Mirror, need, unknown_albums, wanting
from icloudfs.sync.pages import Tree
from icloudfs.sync.rebuilding import rebuild_if_changed
from icloudfs.sync.sync import Sync
from icloudfs.tree.changes import Change, InodeChanged
from icloudfs.tree.directory import Directory, File
from icloudfs.tree.layout import View
from icloudfs.units import size

log = logging.getLogger(__name__)


_PATIENCE = 2.0
"""Seconds for whoever holds the lock and does not answer to begin to, or to let go of it."""

_NO_ROOM = 64 << 10
"""Bytes that hardly any file would fit into: not worth walking on over a million of them."""

_LIBRARIES = (f"{View.LIBRARY}/", f"{View.SHARED}/")
"""Below these everything has a place that tells when it was taken."""

_MAY_COME = "It is not listed to its end yet, so that may come. See: icloudfs status"

_MOST_NAMED = 20
"""Files that there was no room for, or that could not be had, as they are told; all are counted."""

_TELL_EVERY = 0.2
"""Seconds between two words about the first listing to a command that waits for it."""

_LOOK_EVERY = 0.05
"""Seconds between two looks whether it has."""


def _unheard(changes: list[Change]) -> None:
    """Nothing is mounted that could have old entries."""


def _nothing() -> None:
    """Nobody waits who could be woken."""


def tree_of(settings: Settings) -> Tree:
    """How the tree is built, by the settings."""
    return Tree(views=frozenset(settings.views), clock=lambda: int(time.time() * 1000))


async def perform(settings: Settings, request: Request, report: Report = to_nobody) -> Any:
    """Have a request done, by whoever holds the account's state or else here; its result.

    Raises AlreadyRunning if somebody holds it who does not answer, and what the request meets.
    """
    path = socket_path(settings.cookie_directory, settings.username)
    while (holder := lock.holder(settings.cookie_directory, settings.username)) is not None:
        try:
            return await client.ask(path, request, report)
        except client.NobodyThere as error:
            if not await _comes_or_goes(settings, holder, error):
                raise AlreadyRunning(
                    f"icloudfs is already running for {settings.username} ({holder}),"
                    " but does not answer.",
                    hint="Wait until it is done, or stop it.",
                ) from error
    async with opened(settings, type(request).__name__.lower()) as library:
        return await library.handle(request, report)


async def _comes_or_goes(settings: Settings, holder: str, error: client.NobodyThere) -> bool:
    """Give one that does not answer the time to begin or to end; whether it did.

    One that cut us off must end: what it could not do for us it cannot do at a second try.
    """
    if isinstance(error, client.Hangs):
        return False
    path = socket_path(settings.cookie_directory, settings.username)
    with trio.move_on_after(_PATIENCE):
        while lock.holder(settings.cookie_directory, settings.username) == holder:
            if not isinstance(error, client.CutOff) and await client.listens(path):
                break
            await trio.sleep(_LOOK_EVERY)
        return True
    return False


@asynccontextmanager
async def opened(
    settings: Settings, purpose: str, publish: Callable[[list[Change]], None] = _unheard
) -> AsyncIterator[Library]:
    """The library, with its cache running and its control socket answered.

    Raises AlreadyRunning, CacheUnusable, ConfigError and the errors of the database.
    """
    directory = make_state_directory(settings)
    with one_error(), WriterLock(directory, settings.username, purpose):
        database = Database(database_path(directory, settings.username))
        try:
            async with connected(settings) as icloud, trio.open_nursery() as nursery:
                library = Library(settings, database, icloud, publish)
                await nursery.start(library.cache.run)
                path = socket_path(directory, settings.username)
                await nursery.start(server.serve, path, library.handle)
                yield library
                nursery.cancel_scope.cancel()
        finally:
            database.close()


class SyncResult(msgspec.Struct):
    """What a sync came to. Sizes in bytes."""

    kind: str
    seen: int
    calls: int
    downloaded: int = 0
    failed: int = 0
    bytes: int = 0
    left_out: int = 0
    """Files that the mirror asks for and there is no room for."""
    left_out_first: list[str] = []
    """The first of these, as they are told: path and size."""
    refused: list[str] = []
    """What iCloud refuses to give, in words."""
    refused_records: int = 0
    """Records that it refuses one by one."""


class Library:
    """Does what requests ask. Any number at a time: what must not overlap keeps itself apart."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        icloud: ICloud,
        publish: Callable[[list[Change]], None],
    ) -> None:
        self.settings = settings
        self.database = database
        self.icloud = icloud
        self.directory = Directory(database.reader)
        self.publish = publish
        self.cache = Cache(
            settings.account_cache(),
            database,
            ICloudSource(icloud, settings.timeout),
            limit=settings.cache_limit,
            whole_below=settings.stream_above,
            strict=settings.verify == "strict",
            timeout=settings.timeout,
            on_content_changed=self._content_changed,
        )
        self.seeding: Callable[[], dict[str, int]] | None = None
        """What the desktop's thumbnails come to, where a mount lays them."""
        self.is_mounted = False
        """Whether a folder that shows it has been mounted; it may be gone since."""
        self._listeners: set[Report] = set()
        self.wake: Callable[[], None] = _nothing
        """Has iCloud looked at now instead of in a while, where a schedule waits."""
        icloud.on_approval_wanted = self._approval_wanted
        self.now = IDLE
        """What is under way."""
        self.listed = trio.Event()
        """Once everything that iCloud gives was listed: from the start, if it was in an earlier life."""
        if completeness.is_complete(database.reader):
            self.listed.set()
        self.refused: list[str] = []
        """What iCloud refused to give in the last sync, in words."""
        self._sync = Sync(
            database,
            icloud,
            tree_of(settings),
            connections=settings.connections,
            publish=publish,
            report=self._report,
        )

    async def handle(self, request: Request, report: Report) -> Any:
        """Do what ``request`` asks; the result as JSON values. Raises errors of ours."""
        return msgspec.to_builtins(await self._do(request, report))

    async def _do(self, request: Request, report: Report) -> Any:
        match request:
            case messages.Sync():
                return await self.sync(request, report, by_hand=True)
            case messages.RetryFailed(names):
                return await self._prefetch(self._failed(names), report)
            case messages.Prefetch(paths):
                return await self._prefetch_at(paths, report)
            case messages.Pin(paths, pinned):
                return await self._pin(paths, pinned, report)
            case messages.Evict(paths, size):
                return await self._evict(paths, size)
            case messages.ImportExisting():
                return await self._import(request, report)
            case messages.Verify(checksums, repair):
                return await verify(self.cache, checksums=checksums, repair=repair, report=report)
            case messages.Look():
                return self._look()
            case messages.AwaitListing():
                return await self.until_listed(report)
            case messages.SignedIn():
                return self.wake()

    # -- sync ----------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Have the tree that the settings ask for."""
        await rebuild_if_changed(self.database, tree_of(self.settings), self.publish)

    async def sync(
        self, request: messages.Sync, report: Report = to_nobody, *, by_hand: bool = False
    ) -> SyncResult:
        """Bring the list up to date, then the contents that the mirror asks for.

        ``by_hand``: a person waits, and what iCloud refused is asked for again at once.
        """
        self._listeners.add(report)
        mirror = request.mirror or self._own_mirror()
        try:
            await self.prepare()
            if by_hand:
                self.icloud.try_again_now()
            await self.icloud.ensure_session()
            await self.icloud.stay_signed_in()
            figures = await self._sync.run(
                relist=not request.incremental or request.reset_tokens, by_hand=by_hand
            )
            if knows_a_library(self.database.reader):
                self.listed.set()
            if trouble := self.icloud.clock_trouble:
                report(Note(f"{trouble} {WrongClock.hint}"))
            result = SyncResult(figures.kind, figures.seen, figures.calls)
            result.refused, result.refused_records = figures.refused, figures.owed
            self.refused = figures.refused
            await self.cache.drop_unreferenced()
            if mirror.what == "albums":
                self._check_albums(mirror, report)
            await self._mirror(mirror, figures.run, result, report)
            self._complain_of_damage()
            return result
        finally:
            self._listeners.discard(report)
            self.now = IDLE

    async def until_listed(self, report: Callable[[Progress], object]) -> list[str]:
        """Wait for the end of the first listing, and report how far it is; what iCloud refused of it, in words.

        Raises what a person has to do before it can go on.
        """
        while not self.listed.is_set():
            if (error := self.icloud.person_needed) is not None:
                raise copy.copy(error)
            if self.now != IDLE:
                report(self.now)
            with trio.move_on_after(_TELL_EVERY):
                await self.listed.wait()
        return self.refused

    def _complain_of_damage(self) -> None:
        """Also if this run did not need the page that is damaged. Raises StateDamaged."""
        if isinstance(self.database.trouble, StateDamaged):
            raise copy.copy(self.database.trouble)

    def _telling(self, report: Report) -> Report:
        """Like ``report``, and shown by ``status``."""

        def tell(told: Progress | Note) -> None:
            if isinstance(told, Progress):
                self.now = told
            report(told)

        return tell

    def _report(self, progress: Progress) -> None:
        self.now = progress
        for listener in list(self._listeners):
            listener(progress)

    def _approval_wanted(self) -> None:
        """The person who waits for a sync has something to do meanwhile."""
        for listener in list(self._listeners):
            listener(
                Note("Approve access to your photos on your iPhone, iPad or Mac: Apple asks there.")
            )

    def _own_mirror(self) -> Mirror:
        settings = self.settings
        return Mirror(settings.mirror, settings.mirror_days, settings.mirror_albums)

    async def _mirror(self, mirror: Mirror, run: int, result: SyncResult, report: Report) -> None:
        if mirror.what == "demand":
            return
        now = int(time.time() * 1000)
        question = partial(need, mirror=mirror, now=now)
        wanted = await self.database.read(question)
        if not wanted.files:
            return
        room, whose = await self._room()
        too_much = wanted.bytes > room
        if too_much:
            self._forewarn(
                f"{wanted.files} files of {size(wanted.bytes)} are to be downloaded, but {whose} has"
                f" room for {size(room)}: the newest that fit are downloaded.",
                report,
            )
        left_out: list[File] = []
        async with aclosing(wanting(self.database, mirror, now)) as coming:
            done = await self.cache.prefetch(
                _fitting(room, coming, left_out) if too_much else coming,
                self._telling(report),
                self.settings.connections,
                None if too_much else wanted.files,
            )
        result.downloaded, result.failed, result.bytes = done.fetched, done.failed_count, done.bytes
        if too_much:
            left = await self.database.read(question)
            result.left_out = max(left.files - done.failed_count, 0)
            result.left_out_first = [self._as_told(file) for file in left_out]
        await self.database.write(
            lambda c: runs.note_contents(c, run, result.downloaded, result.failed)
        )

    def _as_told(self, file: File) -> str:
        places = self.directory.places(file.ino)
        in_month = [place for place in places if place.startswith(_LIBRARIES)]
        path = next(iter((*in_month, *places)), file.checksum)
        return f"{path} ({size(file.size)})"

    def _check_albums(self, mirror: Mirror, report: Report) -> None:
        """An album may come later; the person who asks for one now should know."""
        for album in unknown_albums(self.database.reader, mirror):
            self._forewarn(f"There is no album '{album}': nothing of it is downloaded.", report)

    def _forewarn(self, text: str, report: Report) -> None:
        """For the log, and for whoever waits."""
        log.warning("%s", text)
        report(Note(text))

    async def _room(self) -> tuple[int, str]:
        """Bytes that may be downloaded before something else would have to go, and what bounds them."""
        disk = (await self.cache.disk_usage()).free
        limit = self.settings.cache_limit
        left = max(limit - self.cache.usage, 0)
        if limit and left < disk:
            return left, f"the cache limit of {size(limit)}"
        return disk, "the disk"

    # -- contents ------------------------------------------------------------------------------

    async def _import(self, request: messages.ImportExisting, report: Report) -> ImportResult:
        self._demand_library()
        is_complete = self._is_complete()
        done = await import_existing(
            self.cache,
            Path(request.directory),
            match=request.match,
            how=request.how,
            dry_run=request.dry_run,
            report=report,
        )
        done.library_complete = is_complete
        return done

    def _demand_library(self) -> None:
        """What is not in a library that nothing is known of may be in it all the same. Raises NeverListed."""
        if not knows_a_library(self.database.reader):
            raise NeverListed

    def _is_complete(self) -> bool:
        return completeness.is_complete(self.database.reader)

    async def _prefetch_at(self, paths: tuple[str, ...], report: Report) -> PrefetchResult:
        is_complete = self._is_complete()
        done = await self._prefetch(self._files_at(paths), report)
        done.library_complete = is_complete
        return done

    async def _prefetch(self, files: Iterator[File], report: Report) -> PrefetchResult:
        await self.icloud.ensure_session()
        done = await self.cache.prefetch(files, report, self.settings.connections)
        done.failed_first = [
            f"{self._place(failure.ino) or failure.checksum}: {failure.reason}"
            for failure in done.failed[:_MOST_NAMED]
        ]
        return done

    async def _pin(self, paths: tuple[str, ...], pinned: bool, report: Report) -> Any:
        checksums = [file.checksum for file in self._files_at(paths)]
        await self.cache.pin(checksums, pinned)
        if pinned:
            return await self._prefetch_at(paths, report)
        return {"unpinned": len(checksums)}

    async def _evict(self, paths: tuple[str, ...], size: int | None) -> dict[str, int]:
        if paths:
            checksums = [file.checksum for file in self._files_at(paths)]
            return {"bytes": await self.cache.drop(checksums)}
        return {"bytes": await self.cache.evict(1 << 62 if size is None else size)}

    def _files_at(self, paths: tuple[str, ...]) -> Iterator[File]:
        """Every file at or below these paths. Raises ConfigError for a path that is not there, and
        NeverListed."""
        self._demand_library()
        found = []
        for path in paths:
            inode = self.directory.at(path)
            if inode is None:
                hint = "" if self._is_complete() else _MAY_COME
                raise ConfigError(f"There is no '{path}' in the library.", hint=hint)
            found.append(inode.ino)
        return chain.from_iterable(self.directory.files_below(ino) for ino in found)

    def _failed(self, names: tuple[str, ...]) -> Iterator[File]:
        """The files of photos that could not be had: those named, by path or asset, or all."""
        self._demand_library()
        if not names:
            return self._files_of(contents.failed(self.database.reader))
        return chain.from_iterable(self._named(name) for name in names)

    def _named(self, name: str) -> Iterator[File]:
        asset = list(self.directory.files_of_asset(name))
        return iter(asset) if asset else self._files_at((name,))

    def _files_of(self, checksums: list[str]) -> Iterator[File]:
        for checksum in checksums:
            file = self.directory.file_of(checksum)
            if file is not None:
                yield file

    def _content_changed(self, checksum: str) -> None:
        inodes = self.database.reader.execute(
            "SELECT ino FROM inode WHERE checksum = ?", (checksum,)
        )
        self.publish([InodeChanged(int(str(ino)), content=True, quiet=True) for (ino,) in inodes])

    # -- looking -------------------------------------------------------------------------------

    def _look(self) -> dict[str, Any]:
        trouble = self.database.trouble
        return {
            "sync": self.now,
            "trouble": None if trouble is None else _told(trouble),
            "mounted": self.is_mounted,
            "listed": self.listed.is_set(),
            "sign_in_needed": self.icloud.person_needed is not None,
            "cache_bytes": self.cache.usage,
            "cache_limit": self.settings.cache_limit,
            "thumbnails": {
                "kept": self.cache.thumbnails_kept.count,
                "bytes": self.cache.thumbnails_kept.bytes,
                **(self.seeding() if self.seeding is not None else {}),
            },
            "transfers": [
                {
                    "path": self._place(transfer.ino),
                    "size": transfer.size,
                    "done": transfer.done,
                    "rate": transfer.rate,
                }
                for transfer in self.cache.transfers()
            ],
        }

    def _place(self, ino: int) -> str:
        """Where a file is, or one of the places; empty if it is gone, or the state cannot be read."""
        with suppress(StateDamaged):
            return next(iter(self.directory.places(ino)), "")
        return ""


def _told(error: IcloudfsError) -> dict[str, Any]:
    return {"error": str(error), "hint": error.hint, "exit_code": error.exit_code}


async def _fitting(
    room: int, files: AsyncIterator[File], left_out: list[File]
) -> AsyncIterator[File]:
    """Those that ``room`` bytes are enough for, in their order; one that is too large is in no other's way. The
    first of the others are put into ``left_out``. What several files share counts once."""
    coming: set[str] = set()
    named: set[str] = set()
    async for file in files:
        if file.checksum in coming:
            yield file
        elif file.size <= room:
            coming.add(file.checksum)
            room -= file.size
            yield file
        elif len(named) < _MOST_NAMED and file.checksum not in named:
            named.add(file.checksum)
            left_out.append(file)
        elif room < _NO_ROOM:
            return
