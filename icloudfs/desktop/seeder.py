"""Who lays the seeds: the folder that was opened last comes first.

A folder is seeded when its owner opens it, and a few files of each folder in it, which Dolphin draws on the
folder's icon. A file that somebody waits for comes before all others. After a sync come the newest photos and
the first of each album. What changes in iCloud is heard of here too: a seed of what is gone or changed is taken
away at once, and a changed one is made anew.

All of it is bounded: how many folders wait, how many files of each are seeded, how many a second, and how many
there are in all. ``find`` opens every folder, too, and must not have every small picture fetched.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from itertools import islice

import apsw
import msgspec
import trio
from cachetools import TTLCache

from icloudfs.aside import aside
from icloudfs.desktop.desktop import Picture
from icloudfs.desktop.niced import NicedThread
from icloudfs.desktop.seeds import Drawn, Seed, Seeds
from icloudfs.desktop.windows import Place, Windows
from icloudfs.errors import ContentError, IcloudfsError, one_error
from icloudfs.tree.changes import Change, EntryAdded, EntryRemoved, InodeChanged
from icloudfs.tree.directory import Directory, File
from icloudfs.tree.numbers import is_directory

log = logging.getLogger(__name__)

MOST_FOLDERS = 8
"""That wait to be seeded; the oldest is forgotten."""

_AT_ONCE = 24
"""Files that are seeded before a folder that was opened meanwhile has its turn."""
_TOGETHER = 3
"""Parts of that many, one of which is always on its way while somebody waits for a whole folder."""
_A_SECOND = 40
"""Seeds at most: half of one processor."""
_BREATH = 0.05
"""Seconds after the first opening, so that of a whole ``find`` only the last folders are begun."""
_SEEN = 1000
_SEEN_FOR = 10.0
"""How many seeds are known to lie without a look, and for how many seconds: somebody may delete them."""
_LOOKED_AT_FOR = 2.0
"""Seconds after somebody waited for a seed in which the others are laid as fast as can be."""
_REST = 60.0
"""Seconds without seeding after the disk was full."""


class _Job:
    """Files to be seeded, as path and inode number."""

    def __init__(self, folder: int, files: Iterator[Place]) -> None:
        self.folder = folder
        self.files = files


class _Wanted(msgspec.Struct, frozen=True):
    seed: Seed
    file: File


class Seeder:
    """Lives as long as the mount. ``opened``, ``changed`` and ``synced`` are for the event loop, and wait
    for nothing."""

    def __init__(self, seeds: Seeds, directory: Directory, picture: Picture) -> None:
        self._seeds = seeds
        self._directory = directory
        self._picture = picture
        self._jobs: list[_Job] = []
        self._changes: list[Change] = []
        self._windows = Windows(directory)
        self._covers_are_due = True
        self._is_synced = False
        self._woken = trio.Event()
        self._thread: NicedThread
        self._nursery: trio.Nursery | None = None
        self._ready = trio.Event()
        self._under_way: dict[bytes, trio.Event] = {}
        """Paths that are being seeded, and who waits for them."""
        self._seen: TTLCache[bytes, Seed] = TTLCache(_SEEN, _SEEN_FOR, trio.current_time)
        """Seeds that lie."""
        self._drawers = trio.CapacityLimiter(os.cpu_count() or 1)
        self._in_a_hurry_until = 0.0
        self._no_seeds_before = 0.0
        self.is_away = False
        """Whether iCloud did not answer when it was last asked."""

    # -- what is heard ---------------------------------------------------------------------------

    def opened(self, folder: int) -> None:
        """The owner of the mount opened a folder."""
        self._windows.opened(folder)
        self._add(folder)

    def changed(self, changes: Sequence[Change]) -> None:
        """These changes are in the database."""
        self._changes += changes
        self._woken.set()

    def synced(self) -> None:
        """What iCloud holds is known, but for the changes that have not been told yet."""
        self._is_synced = True
        self.is_away = False
        self._woken.set()

    @property
    def lays(self) -> bool:
        """Whether anything is seeded at all: it is not once that has failed in a way that lasts."""
        return not self._ready.is_set() or self._nursery is not None

    async def laid(self, ino: int) -> None:
        """Seed a file in the folders that were opened last, before all others; returns when its seeds lie,
        or cannot come now. Whoever does not wait any longer leaves that to be finished.

        Only KDE waits, and from then on seeds are laid in the sizes that it may ask for.
        """
        self._seeds.in_every_size = True
        await self._at_once(list(self._windows.places_shown(ino)))

    async def laid_before_told(self, changes: Sequence[Change]) -> None:
        """Seed what comes or changes in the folders that were opened last. Not if that is a lot: then what
        is in there matters more than what it looks like."""
        new = {
            change.ino
            for change in changes
            if isinstance(change, EntryAdded)
            or (isinstance(change, InodeChanged) and change.content and not change.quiet)
        }
        if len(new) <= _AT_ONCE:
            await self._at_once([place for ino in new for place in self._windows.places_shown(ino)])

    async def laid_on_icon(self, folder: int) -> None:
        """The same for the first files of a folder."""
        await self._at_once(list(self._windows.on_icon(folder)))

    async def laid_in(self, folder: int) -> None:
        """The same for the files of a folder that are seeded, by the order of their names."""
        files = self._windows.files_in(folder)
        async with trio.open_nursery() as nursery:
            for _ in range(_TOGETHER):
                nursery.start_soon(self._several_at_once, files)

    async def _several_at_once(self, files: Iterator[Place]) -> None:
        while not self.is_away and (several := list(islice(files, _AT_ONCE // _TOGETHER))):
            await self._at_once(several)

    @property
    def figures(self) -> dict[str, int]:
        """For ``status``: how many seeds, their bytes, and how many folders wait."""
        return {
            "seeds": self._seeds.count,
            "seed_bytes": self._seeds.bytes,
            "folders_waiting": len(self._jobs),
        }

    def _add(self, folder: int) -> None:
        if trio.current_time() < self._no_seeds_before:
            return
        self._jobs = [job for job in self._jobs if job.folder != folder]
        self._jobs.append(_Job(folder, self._windows.everything_in(folder)))
        del self._jobs[:-MOST_FOLDERS]
        self._woken.set()

    # -- the work --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Seed until cancelled. Raises IcloudfsError if the desktop's cache, or ours, cannot be used."""
        self._thread = NicedThread()
        try:
            await self._thread.run(self._seeds.open)
            with one_error():
                async with trio.open_nursery() as self._nursery:
                    self._ready.set()
                    await self._compare()
                    await self._work()
        except (OSError, apsw.Error) as error:
            raise IcloudfsError(
                f"No thumbnails are laid into the desktop's cache: {error}."
            ) from error
        finally:
            self._nursery = None
            self._ready.set()
            with trio.CancelScope(shield=True), trio.move_on_after(2):
                await self._thread.run(self._seeds.close)
            self._thread.end()

    async def _work(self) -> None:
        while True:
            await self._woken.wait()
            self._woken = trio.Event()
            await trio.sleep(_BREATH)
            await self._catch_up()
            while self._jobs or self._cover():
                await self._go_on()
                await self._catch_up()

    def _cover(self) -> bool:
        """Go on with what is shown of folders that nobody has opened, if that may be another one now."""
        is_due = self._covers_are_due and self._is_synced
        if is_due:
            self._covers_are_due = False
            self._jobs.append(_Job(0, self._windows.likely()))
        return is_due

    async def _go_on(self) -> None:
        job = self._jobs[-1]
        files = list(islice(job.files, _AT_ONCE))
        if not files:
            self._jobs = [other for other in self._jobs if other is not job]
            return
        began = trio.current_time()
        laid = await self._lay(self._begin(files))
        if trio.current_time() > self._in_a_hurry_until:
            await trio.sleep(max(laid / _A_SECOND - (trio.current_time() - began), 0))

    async def _at_once(self, files: Sequence[Place]) -> None:
        await self._ready.wait()
        if self._nursery is None or trio.current_time() < self._no_seeds_before:
            return
        self._in_a_hurry_until = trio.current_time() + _LOOKED_AT_FOR
        others = [self._under_way[path] for path, _ in files if path in self._under_way]
        begun = self._begin([place for place in files if not self._lies(*place)])
        others += [self._under_way[path] for path in begun]
        if begun:
            self._nursery.start_soon(aside, self._lay, begun)
        for seeded in others:
            await seeded.wait()

    def _begin(self, files: Sequence[Place]) -> dict[bytes, _Wanted]:
        """What nobody else is at, by path; it is under way from now on."""
        begun = {
            path: wanted
            for path, ino in files
            if path not in self._under_way and (wanted := self._wanted(path, ino))
        }
        self._under_way |= {path: trio.Event() for path in begun}
        return begun

    def _lies(self, path: bytes, ino: int) -> bool:
        """Whether it was seen to a moment ago: who comes by with each file of a folder need not wait for
        the thread that draws the next ones."""
        seed, wanted = self._seen.get(path), self._wanted(path, ino)
        return wanted is not None and wanted.seed == seed

    def _ended(self, path: bytes) -> None:
        self._under_way.pop(path).set()

    async def _lay(self, begun: dict[bytes, _Wanted]) -> int:
        """Seed what has none; how many had not."""
        missing: list[Seed] = []
        try:
            missing = await self._thread.run(
                self._seeds.missing, [wanted.seed for wanted in begun.values()]
            )
            lying = [wanted.seed for wanted in begun.values() if wanted.seed not in missing]
            self._seen.update({seed.path: seed for seed in lying})
        finally:
            for path in begun.keys() - {seed.path for seed in missing}:
                self._ended(path)
        async with trio.open_nursery() as nursery:
            for seed in missing:
                nursery.start_soon(self._seed, begun[seed.path])
        return len(missing)

    async def _seed(self, wanted: _Wanted) -> None:
        try:
            jpeg = await self._picture(wanted.file)
            self.is_away = False
            drawn = await self._draw(wanted.seed, jpeg)
            await self._thread.run(self._seeds.lay, wanted.seed, drawn)
            self._seen[wanted.seed.path] = wanted.seed
        except ContentError as error:
            log.debug("no seed of %s: %s", wanted.file.checksum, error)
        except IcloudfsError as error:
            # Without a network it is no use to go on; the next opening tries again.
            log.debug("no seeds: %s", error)
            self.is_away = True
            self._jobs.clear()
        except (OSError, apsw.Error) as error:
            if trio.current_time() >= self._no_seeds_before:
                log.warning("no thumbnails are laid for a minute: %s", error)
            self._no_seeds_before = trio.current_time() + _REST
            self._jobs.clear()
        finally:
            self._ended(wanted.seed.path)

    async def _draw(self, seed: Seed, jpeg: bytes) -> Drawn:
        """While somebody waits, by as many threads as there are processors, and none of them gives way."""
        if trio.current_time() > self._in_a_hurry_until:
            return await self._thread.run(self._seeds.draw, seed, jpeg)
        return await trio.to_thread.run_sync(self._seeds.draw, seed, jpeg, limiter=self._drawers)

    def _wanted(self, path: bytes, ino: int) -> _Wanted | None:
        inode, file = self._directory.getattr(ino), self._directory.file(ino)
        if inode is None or file is None:
            return None
        return _Wanted(Seed(path, file.checksum, inode.mtime, inode.size), file)

    # -- what changed ----------------------------------------------------------------------------

    async def _catch_up(self) -> None:
        """Take away what became wrong, and seed anew what is still there."""
        changes, self._changes = self._changes, []
        if changes:
            self._seen.clear()
        for change in dict.fromkeys(changes):
            match change:
                case EntryAdded(parent):
                    self._covers_are_due = True
                    if self._windows.show(parent):
                        self._add(parent)
                case EntryRemoved(parent, name):
                    self._covers_are_due = True
                    # With a folder goes all that is in it: what was in it has no other path to go by.
                    if self._windows.paths(parent):
                        gone = self._windows.path_in(parent, name)
                        await self._thread.run(self._seeds.forget, gone)
                case InodeChanged(ino, content):
                    await self._renew(ino, content)

    async def _renew(self, ino: int, content: bool) -> None:
        if is_directory(ino):
            return
        paths = self._windows.paths(ino)
        now = [wanted.seed for path in paths if (wanted := self._wanted(path, ino))]
        stale = await self._thread.run(self._seeds.stale, now)
        wrong = stale
        if content:  # what others made of it goes, too
            missing = await self._thread.run(self._seeds.missing, now)
            wrong = [seed.path for seed in missing]
        for path in wrong:
            await self._thread.run(self._seeds.forget, path)
        if stale:
            self._jobs.append(_Job(0, iter([(path, ino) for path in stale])))

    async def _compare(self) -> None:
        """With what changed while nobody looked."""
        after = b""
        while page := await self._thread.run(self._seeds.page, after, _AT_ONCE):
            after = page[-1].path
            for seed in page:
                inode = self._directory.at(seed.path.decode("utf-8", "surrogateescape"))
                now = None if inode is None else self._wanted(seed.path, inode.ino)
                if now is None or now.seed != seed:
                    await self._thread.run(self._seeds.forget, seed.path)
