"""What happens to one account: a person at the phone, programs that read, and a daemon that has a hard life.

All chance comes from the seed; only how fast the machine is does not.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from icloudfs import errors
from icloudfs.simulator import ControlClient
from icloudfs.simulator.calls import DATABASE_CALLS
from icloudfs.simulator.excess import WITHOUT_END, WITHOUT_MEASURE
from icloudfs.simulator.faults import WAYS
from tests.image_disk import ImageDisk
from tests.scratch import ICLOUDFS, wait_until
from tests.sync.comparing import Namesakes
from tests.whole.failing_disk import FROZEN, FailingDisk
from tests.whole.library import ALL_VIEWS, Library, checksum_of
from tests.whole.local_icloud import Entry

FILENAMES = ["IMG_0001.HEIC", "img_0001.heic", "IMG_0002.JPG", "IMG_0002-edited.JPG", ""]
TITLES = ["Trip", "trip", "Family", "A/B", "IMG_0001.HEIC"]
KINDS = [
    "heic", "jpeg", "turned", "png", "screenshot", "live", "raw+jpeg", "dng", "panorama", "portrait",
    "gif", "webp", "video", "slomo", "timelapse",
]  # fmt: skip
MONTHS = [1_700_000_000_000, 1_703_000_000_000, -1000]
PRIMARY = "PrimarySync"
BUSY = "BUSY.JPG"
"""A photo that somebody works on all the time, and that everybody looks at meanwhile."""

FAULTS: list[tuple[str, str, dict[str, Any]]] = [
    ("changes", "split", {"times": 3}),
    ("changes", "empty-page", {"times": 3}),
    ("changes", "record-error", {"times": 1}),
    ("changes", "zone-error", {"times": 1}),
    ("changes", "reject-token", {"times": 1}),
    ("changes", "status", {"status": 500, "times": 2, "retry_after": 0.05}),
    ("changes", "drop", {"times": 2}),
    ("changes", "delay", {"seconds": 0.1}),
    ("query", "try-again", {"times": 2, "retry_after": 0.05}),
    ("query", "status", {"status": 500, "times": 1, "skip": 2}),
    ("query", "count", {"by": 1, "times": 4}),
    ("query", "count", {"by": -1, "times": 1}),
    ("query", "delay", {"seconds": 0.1}),
    ("lookup", "missing-url", {"times": 2}),
    ("content", "flip", {"times": 6}),
    ("content", "short", {"times": 6}),
    ("content", "truncate", {"times": 6}),
    ("content", "html", {"times": 6}),
    ("content", "gone", {"times": 6}),
    ("content", "status", {"status": 503, "times": 6, "retry_after": 0.05}),
    ("content", "drop", {"times": 6}),
    ("content", "throttle", {"bytes_per_second": 2_000_000}),
    ("*", "delay", {"seconds": 0.05}),
    ("*", "drop", {"times": 4}),
    ("query", "count", {"percent": 30, "times": 4}),
    ("query", "count", {"percent": -100, "times": 4}),
    ("query", "count", {"by": 100_000_000, "times": 4}),
    ("query", "gap", {"at": 3, "length": 40}),
    ("query", "blank-token", {}),
    ("query", "short-page", {"positions": 7}),
    ("query", "record-error", {"times": 3}),
    ("lookup", "record-error", {"times": 3}),
    ("changes", "blank-token", {"times": 3}),
    ("changes", "zone-error", {"code": "ZONE_NOT_FOUND", "times": 1}),
]

# An empty list, said again and again, is the truth; an answer that trickles takes two minutes each time.
_WRONG_WAYS = sorted({*WAYS, *WITHOUT_MEASURE, *WITHOUT_END} - {"empty-list", "trickle"})

_A_WRONG_ANSWER = 0.4
"""The part of the faults that is an answer in a wrong form, to any one call."""


def a_fault(chance: random.Random) -> tuple[str, str, dict[str, Any]]:
    """Something that iCloud does wrong for a while."""
    if chance.random() >= _A_WRONG_ANSWER:
        return chance.choice(FAULTS)
    details: dict[str, Any] = {
        "call": chance.choice([*DATABASE_CALLS, "content"]),
        "way": chance.choice(_WRONG_WAYS),
        "times": chance.choice([1, 2, 5]),
    }
    return "*", "answer", details


CALLS = ["pwrite", "pwrite64", "pread64", "preadv2 preadv64v2", "fdatasync", "fsync"]
"""What a disk may refuse to do."""

SETTINGS: dict[str, list[str]] = {
    "CONNECTIONS": ["1", "8"],
    "STREAM_ABOVE": ["20K", "32M"],
    "CACHE_LIMIT": ["500K", "10G"],
    "VERIFY": ["normal", "strict"],
    "MIRROR": ["demand", "demand", "favorites"],
}
"""What a library may have been set up with."""

INTERVAL = "0.3"
"""Seconds between two looks at iCloud."""
TIMEOUT = "5"
"""Seconds until a read fails: none may hold up the end of a story for long."""
AT_ONCE = 5.0
"""Seconds in which the kernel hears of what a sync has found, on a slow machine."""
PAGE = 4096
"""Bytes that the kernel keeps together."""


def settings(seed: int) -> dict[str, str]:
    """The environment of the account: all views, short intervals, the rest by chance."""
    chance = random.Random(f"settings {seed}")
    chosen = {name: chance.choice(values) for name, values in SETTINGS.items()}
    fixed = {"VIEWS": ",".join(ALL_VIEWS), "INTERVAL": INTERVAL, "TIMEOUT": TIMEOUT}
    return {f"ICLOUDFS_{name}": value for name, value in (chosen | fixed).items()}


class Person:
    """Does things on the phone, as chance has it, and knows every name that there ever was."""

    def __init__(self, control: ControlClient, chance: random.Random) -> None:
        self._control = control
        self._chance = chance
        self.known = Namesakes()
        self.actions: Counter[str] = Counter()
        busy = control.phone("add_photo", kind="large", filename=BUSY, taken=MONTHS[0])
        control.phone("edit", asset=busy["asset"])
        self._look()

    @property
    def busy_photo(self) -> str | None:
        """The asset that is worked on all the time, or the oldest twin; None if all are purged."""
        return next((p["asset"] for p in self._photos if p["filename"] == BUSY), None)

    def act(self, times: int = 1) -> None:
        for _ in range(times):
            action = self._chance.choice(self._ACTIONS)
            try:
                action(self)
            except IndexError:
                continue  # there is nothing that this could be done to
            self.actions[action.__name__.strip("_")] += 1
            self._look()

    def keep_to(self, most: int) -> None:
        """Have at most so many photos: what is too much goes for good."""
        for photo in self._chance.sample(self._photos, max(len(self._photos) - most, 0)):
            self._control.phone("purge", asset=photo["asset"])
        self._look()

    def _look(self) -> None:
        self._photos = self._control.manifest()
        self._everything = self._control.albums()
        self._shared = next((z for z in self._control.counts() if z != PRIMARY), None)
        for photo in self._photos:
            self.known.note_photo(photo["asset"], photo["filename"])
        for album in self._everything:
            self.known.note_album(album["album"], album["path"][-1])

    # -- what there is ---------------------------------------------------------------------------

    def _photo(self, fits: Callable[[Entry], object] = lambda _: True) -> Entry:
        """One that is not a frame of a burst. Raises IndexError if none fits."""
        return self._chance.choice([p for p in self._photos if not p["burst"] and fits(p)])

    def _asset(self) -> str:
        return str(self._photo()["asset"])

    def _frame(self) -> str:
        return str(self._chance.choice(self._photos)["asset"])

    def _albums(self, kind: int) -> list[Entry]:
        return [a for a in self._everything if a["kind"] == kind and a["zone"] == PRIMARY]

    def _album(self) -> str:
        return str(self._chance.choice(self._albums(0))["album"])

    def _folder(self) -> str | None:
        return self._chance.choice([None, *(str(a["album"]) for a in self._albums(3))])

    # -- photos ----------------------------------------------------------------------------------

    def _add(self) -> None:
        self._control.phone(
            "add_photo",
            kind=self._chance.choice(KINDS),
            filename=self._chance.choice(FILENAMES),
            taken=self._chance.choice(MONTHS),
            favorite=self._chance.choice([None, 1]),
            zone=self._chance.choice([PRIMARY, PRIMARY, self._shared or PRIMARY]),
        )

    def _add_many(self) -> None:
        for _ in range(self._chance.randint(2, 12)):
            self._control.phone("add_photo", kind="jpeg")

    def _burst(self) -> None:
        self._control.phone("add_burst", frames=3, picked=1)

    def _edit(self) -> None:
        self._control.phone("edit", asset=self._asset())

    def edit_the_busy_one(self) -> None:
        """The rendition that is there gets another content."""
        if self.busy_photo is not None:
            self._control.phone("edit", asset=self.busy_photo)

    def _revert(self) -> None:
        self._control.phone("revert", asset=self._asset())

    def _favorite(self) -> None:
        self._control.phone(self._chance.choice(["favorite", "unfavorite"]), asset=self._frame())

    def _hide(self) -> None:
        self._control.phone(self._chance.choice(["hide", "unhide"]), asset=self._asset())

    def _delete(self) -> None:
        self._control.phone("delete", asset=self._frame())

    def _restore(self) -> None:
        deleted = self._chance.choice([p for p in self._photos if p["deleted"]])
        self._control.phone("restore", asset=deleted["asset"])

    def _purge(self) -> None:
        self._control.phone("purge", asset=self._frame())

    def _redate(self) -> None:
        self._control.phone(
            "redate", asset=self._asset(), taken=self._chance.choice(MONTHS), offset=3600
        )

    def _describe(self) -> None:
        self._control.phone("caption", asset=self._asset(), text=self._chance.choice(TITLES))

    def _duplicate(self) -> None:
        self._control.phone("duplicate", asset=self._asset())

    # -- albums ----------------------------------------------------------------------------------

    def _create(self) -> None:
        kind = self._chance.choice([0, 0, 3])
        title = self._chance.choice(TITLES)
        self._control.phone("create_album", title=title, parent=self._folder(), kind=kind)

    def _rename(self) -> None:
        title = self._chance.choice(TITLES)
        album = self._chance.choice(self._albums(0) + self._albums(3))["album"]
        self._control.phone("rename_album", album=album, title=title)

    def _move(self) -> None:
        self._control.phone("move_album", album=self._album(), parent=self._folder())

    def _delete_album(self) -> None:
        album = self._chance.choice(self._albums(self._chance.choice([0, 3])))["album"]
        self._control.phone("delete_album", album=album, for_good=self._chance.random() < 0.5)

    def _join(self) -> None:
        photo = self._photo(
            lambda p: p["zone"] == PRIMARY and not p["deleted"] and not p["hidden"],
        )
        self._control.phone("add_to_album", asset=photo["asset"], album=self._album())

    def _leave(self) -> None:
        album = self._chance.choice(self._albums(0))
        member = self._chance.choice(album["members"])
        self._control.phone("remove_from_album", asset=member, album=album["album"])

    # -- the shared library ----------------------------------------------------------------------

    def _share(self) -> None:
        photo = self._photo(lambda p: p["zone"] == PRIMARY and self._shared)
        self._control.phone("share", asset=photo["asset"])

    def _unshare(self) -> None:
        photo = self._photo(lambda p: p["zone"] != PRIMARY and not p["deleted"])
        self._control.phone("unshare", asset=photo["asset"])

    def _begin_or_end_sharing(self) -> None:
        if self._shared is None:
            self._control.phone("create_shared_zone", mine=self._chance.random() < 0.5)
        elif self._chance.random() < 0.3:
            self._control.phone("remove_shared_zone", zone=self._shared)

    # -- the log ---------------------------------------------------------------------------------

    def _compact(self) -> None:
        self._control.phone("compact", pages=2)

    def _touch(self) -> None:
        photo = self._photo()
        self._control.phone("touch", record=photo["asset"], zone=photo["zone"])

    _ACTIONS: ClassVar[list[Callable[[Person], None]]] = [
        _add, _add, _add, _add_many, _burst, _edit, _edit, edit_the_busy_one,
        edit_the_busy_one, edit_the_busy_one, edit_the_busy_one, _revert,
        _favorite, _favorite, _hide, _hide, _delete, _restore, _restore, _purge, _redate, _describe,
        _duplicate, _create, _create, _rename, _move, _delete_album, _join, _join, _join, _leave,
        _share, _unshare, _begin_or_end_sharing, _compact, _touch,
    ]  # fmt: skip


class Shown(NamedTuple):
    """What a path shows, as far as the bytes depend on it."""

    ino: int
    size: int
    changed: int
    checksum: str


class Opened(NamedTuple):
    """A file that somebody reads now and then, a page at a time."""

    path: Path
    shown: Shown
    descriptor: int


class Reader(threading.Thread):
    """A program that walks the tree and reads what it finds, whatever happens to the daemon."""

    PERMITTED: ClassVar[set[int]] = {
        errno.ENOENT,  # it went away, or nothing is mounted just now
        errno.ESTALE,
        errno.ENODATA,
        errno.ENOTDIR,  # a photo and an album may take turns at a name
        errno.EIO,  # a fault spoilt it, or the photo went away while it was fetched
        errno.ENETUNREACH,
        errno.EBUSY,
        errno.ENOSPC,  # the disk is full
        errno.EAGAIN,  # a directory that may still grow
        errno.ENOTCONN,  # the daemon was killed
        errno.ECONNABORTED,
    }
    _MOST_OPENED = 4

    def __init__(self, library: Library, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._library = library
        self._chance = chance
        self._ended = threading.Event()
        self._at_work = threading.Lock()
        self._paths: list[Path] = []
        self._opened: list[Opened] = []
        self._known: dict[str, bytes] = {}
        self.seen: set[Path] = set()
        """Every path that was looked at, which the kernel may therefore remember."""
        self.reads = 0
        self.replaced = 0
        """Reads of files that got another content meanwhile."""
        self.failures: Counter[str] = Counter()
        """By errno: what a reader has to live with."""
        self.wrong: list[str] = []
        """What may never be."""

    def run(self) -> None:
        while not self._ended.is_set():
            with self._at_work:
                self._go_on()
            # So that whoever waits for the lock gets it, and the daemon gets a processor.
            time.sleep(self._chance.uniform(0.001, 0.05))

    @contextmanager
    def resting(self) -> Iterator[None]:
        """It has nothing open in the mount."""
        with self._at_work:
            while self._opened:
                os.close(self._opened.pop().descriptor)
            yield

    def end(self) -> None:
        self._ended.set()
        self.join(3 * float(TIMEOUT))
        assert not self.is_alive(), "a read does not end"
        with self.resting():
            pass

    def _go_on(self) -> None:
        try:
            # What was listed last may be gone by now, or with the daemon.
            shares = (6, 3, 1) if self._paths else (0, 0, 1)
            self._chance.choices([self._read, self._read_on, self._walk], shares)[0]()
        except OSError as error:
            self._paths = []
            code = errno.errorcode.get(error.errno or 0, str(error))
            self.failures[code] += 1
            if error.errno not in self.PERMITTED:
                self.wrong.append(f"{error.filename}: {code}")
        except Exception as error:
            self.wrong.append(repr(error))

    def _walk(self) -> None:
        found = list(self._library.files(self._chance.choice(["", self._chance.choice(ALL_VIEWS)])))
        self.seen.update(found)
        for path in found:
            path.lstat()
        self._paths = found

    def _read(self) -> None:
        """All of a file, as fast as it comes."""
        path = self._chance.choice(self._paths)
        before = _shown(path)
        self._judge(path, before, path.read_bytes(), slice(None))

    def _read_on(self) -> None:
        """A page of a file that was opened long ago, perhaps before it got another content."""
        if len(self._opened) < self._MOST_OPENED:
            self._open()
            return
        opened = self._opened.pop(0)
        at = self._chance.randrange(0, opened.shown.size + 1, PAGE)
        try:
            data = os.pread(opened.descriptor, PAGE, at)
        except OSError:
            os.close(opened.descriptor)
            raise
        self._opened.append(opened)
        self._judge(opened.path, opened.shown, data, slice(at, at + PAGE))

    def _open(self) -> None:
        stem = BUSY.partition(".")[0]
        busy = [p for p in self._paths if p.name.startswith(stem) and "-edited" in p.name]
        path = self._chance.choice(busy or self._paths)
        shown = _shown(path)
        descriptor = os.open(path, os.O_RDONLY)
        # One page at a time: the kernel would else read the whole of a small file ahead.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        self._opened.append(Opened(path, shown, descriptor))

    def _judge(self, path: Path, before: Shown, data: bytes, part: slice) -> None:
        """What was the same before and a while after was read as it is."""
        self.reads += 1
        if data == self._content(before.checksum)[part]:
            return
        # The kernel hears of a change right after it is in the database.
        time.sleep(0.5)
        after = _shown(path)
        if after != before:
            self.replaced += 1
        else:
            self.wrong.append(f"{path}: {len(data)} bytes at {part.start or 0} are not of {before}")

    def _content(self, checksum: str) -> bytes:
        if checksum not in self._known:
            self._known[checksum] = self._library.icloud.content(checksum)
        return self._known[checksum]


def _shown(path: Path) -> Shown:
    status = path.lstat()
    checksum = os.getxattr(path, "user.icloudfs.checksum").decode()
    return Shown(status.st_ino, status.st_size, status.st_ctime_ns, checksum)


class Story:
    """One account from the first sign-in to the last look, with everything that happens meanwhile.

    ``home``: the disk with its state, its cache and its folder; without one, no power is cut.
    """

    _ROUNDS = (2, 5)
    _READERS = 2
    _SPEAKING = frozenset(
        error.exit_code
        for error in (
            errors.Offline, errors.Throttled, errors.ProtocolError, errors.Incomplete,
            errors.ContentError, errors.AlreadyRunning, errors.StateDamaged, errors.CacheUnusable,
        )
    ) | {0, 1}  # fmt: skip
    """How a command may end while things go wrong. 1: what iCloud said has no class of its own."""

    def __init__(self, library: Library, home: ImageDisk | None, seed: int) -> None:
        self.library = library
        self._home = home
        self._events = [*self._EVENTS, *(self._CUTS if home is not None else [])]
        self._control = library.icloud.control
        self._chance = random.Random(f"story {seed}")
        self.person = Person(self._control, random.Random(f"phone {seed}"))
        self.readers = [
            Reader(library, random.Random(f"reader {number} of {seed}"))
            for number in range(self._READERS)
        ]
        self.happened: Counter[str] = Counter()
        self._disk = FailingDisk(library.state.parent, library.scratch.folder / "orders")
        self._daemon = 0

    def figures(self) -> str:
        """What it was all about."""
        errors_met = sum((reader.failures for reader in self.readers), Counter[str]())
        return (
            f"{sum(self.person.actions.values())} actions, {self.happened['killed']} kills,"
            f" {sum(n for name, n in self.happened.items() if name.startswith('cut'))} power cuts,"
            f" {self.happened['spoilt']} tokens spoilt, {self.happened['fault']} faults,"
            f" {sum(reader.reads for reader in self.readers)} reads,"
            f" {sum(reader.replaced for reader in self.readers)} of what was replaced, {dict(errors_met)}"
        )

    def happen(self) -> None:
        """All of it. Mounted at the end, with nobody reading and no faults."""
        if self._chance.random() < 0.5:
            self.library.sync()
        self._mount()
        for reader in self.readers:
            reader.start()
        try:
            for _ in range(self._chance.randint(*self._ROUNDS)):
                self._round()
        finally:
            self._control.clear_faults()
            self._disk.is_well()
            for reader in self.readers:
                reader.end()
        self._judge_readers()

    def _mount(self) -> None:
        self.library.mount(environment=self._disk.environment)
        self._daemon = self.library.daemon

    def _round(self) -> None:
        self._control.clear_faults()
        if self._chance.random() < 0.6:
            kind, name, details = a_fault(self._chance)
            self.happened["fault"] += 1
            self._tell(f"fault {kind} {name} {details}")
            self._control.set_fault(kind, name, **details)
        self._act()
        event = self._chance.choice(self._events)
        self._tell(event.__name__.strip("_"))
        self.happened[event.__name__.strip("_")] += 1
        event(self)
        assert self.library.daemon == self._daemon, "the daemon ended"
        self._judge_readers()

    def _judge_readers(self) -> None:
        wrong = [line for reader in self.readers for line in reader.wrong]
        assert not wrong, "\n".join(wrong)

    def _tell(self, what: str) -> None:
        print(f"  {time.strftime('%H:%M:%S')} {what}")

    def _act(self) -> None:
        """Something on the phone, in one go or while the daemon sees to it."""
        for _ in range(self._chance.randint(1, 4)):
            self.person.act(self._chance.randint(1, 6))
            self._pass_time(0.2)

    def _pass_time(self, most: float) -> None:
        time.sleep(self._chance.uniform(0, most))

    # -- events ----------------------------------------------------------------------------------

    def _wait(self) -> None:
        self._pass_time(0.6)

    def _kill(self) -> None:
        """``kill -9`` at any moment, and a mount by somebody who need not know of it."""
        self._pass_time(0.4)
        self._kill_daemon()
        self._meanwhile()
        self._mount()

    def _kill_twice(self) -> None:
        """The second time as soon as it is mounted: while it takes up what the first one left."""
        for _ in range(2):
            self._kill_daemon()
            self._mount()

    def _sync_beside(self) -> None:
        with self._command("sync", *self._sync_flags()):
            self.person.act(self._chance.randint(0, 3))

    def _kill_under_a_command(self) -> None:
        """Whoever asked the daemon for something must be told, not left waiting."""
        with self._command(*self._some_command()):
            # Python needs most of the first to start.
            time.sleep(self._chance.uniform(0.2, 0.6))
            self._kill_daemon()
        self._mount()

    def _remount(self) -> None:
        with self._nobody_reading():
            self.library.unmount()
        self._meanwhile()
        self._mount()

    def _kill_syncs_alone(self) -> None:
        with self._nobody_reading():
            self.library.unmount()
        for _ in range(self._chance.randint(1, 2)):
            with self._command("sync", *self._sync_flags(), killed=True) as process:
                time.sleep(self._chance.uniform(0.2, 0.8))
                process.kill()
            self.happened["killed"] += 1
            self.person.act(self._chance.randint(0, 2))
        self._meanwhile()
        self._mount()

    def _edit_what_is_open(self) -> None:
        """The kernel keeps one set of pages a file: what is read through a handle from before must not be
        taken for the new content by those who open it then."""
        self._control.clear_faults()
        self.library.sync()
        files = self.library.files_of(self.person.busy_photo or "")
        path = next((path for path in files if "-edited" in path.name), None)
        if path is None:
            return
        before = checksum_of(path)
        with path.open("rb", buffering=0) as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            opened.read(PAGE)
            self.person.edit_the_busy_one()
            self.library.sync()
            wait_until(lambda: checksum_of(path) != before)
            self._pass_time(0.2)
            for at in range(PAGE, path.stat().st_size, 8 * PAGE):
                with suppress(OSError):
                    os.pread(opened.fileno(), PAGE, at)
        wait_until(lambda: path.read_bytes() == self.library.truth(path), AT_ONCE)

    def _drop_the_cache(self) -> None:
        with self._command("cache", "evict"):
            self._pass_time(0.5)

    def _break_the_disk(self) -> None:
        """It is full or gives errors, for as long as something happens."""
        number = self._chance.choice([errno.EIO, errno.ENOSPC])
        calls = " ".join(self._chance.sample(CALLS, self._chance.randint(1, len(CALLS))))
        self._tell(f"{errno.errorcode[number]} of {calls}")
        self._disk.fails(number, calls)
        self._chance.choice(self._WHILE_IT_IS_BROKEN)(self)
        self._disk.is_well()

    def _freeze_the_cache(self) -> None:
        """What lies in the cache cannot be read or written for a while."""
        self._disk.fails(FROZEN, " ".join(CALLS), self.library.cache)
        self._chance.choice(self._WHILE_IT_IS_FROZEN)(self)
        self._disk.is_well()

    def _cut_the_power(self) -> None:
        """Of the disk with everything: what was not synced is lost."""
        self._pass_time(0.6)
        self._cut_and_restore(self._kill_daemon)
        self._meanwhile()
        self._mount()

    def _cut_the_power_twice(self) -> None:
        """The second time while what the first one left is taken up."""
        for _ in range(2):
            self._cut_and_restore(self._kill_daemon)
            self._mount()

    def _cut_the_power_of_a_sync_alone(self) -> None:
        with self._nobody_reading():
            self.library.unmount()
        with self._command("sync", *self._sync_flags(), killed=True) as process:
            time.sleep(self._chance.uniform(0.4, 1.2))
            self._cut_and_restore(process.kill)
        self._mount()

    def _cut_and_restore(self, end: Callable[[], None]) -> None:
        """``end`` takes away what ran."""
        assert self._home is not None
        self._home.cut()
        end()
        with self._nobody_reading():
            self._back_again(self._home)

    def _back_again(self, home: ImageDisk) -> None:
        subprocess.run(
            ["umount", "--lazy", self.library.mount_point], check=False, capture_output=True
        )
        home.unmount()
        home.mount()

    def _kill_with_the_disk(self) -> None:
        """While it does not do what it is asked; it does when all begins anew."""
        self._act()
        self._kill_daemon()
        self._disk.is_well()
        self._mount()

    def _delete_the_cache(self) -> None:
        shutil.rmtree(self.library.cache / self.library.icloud.account.apple_id, ignore_errors=True)
        self._act()

    _EVENTS: ClassVar[list[Callable[[Story], None]]] = [
        _wait, _kill, _kill, _kill_twice, _sync_beside, _kill_under_a_command, _remount,
        _kill_syncs_alone, _drop_the_cache, _edit_what_is_open, _edit_what_is_open,
        _break_the_disk, _break_the_disk, _freeze_the_cache, _delete_the_cache,
    ]  # fmt: skip

    _CUTS: ClassVar[list[Callable[[Story], None]]] = [
        _cut_the_power, _cut_the_power, _cut_the_power_twice, _cut_the_power_of_a_sync_alone,
    ]  # fmt: skip

    _WHILE_IT_IS_BROKEN: ClassVar[list[Callable[[Story], None]]] = [
        _act, _act, _sync_beside, _drop_the_cache, _delete_the_cache, _kill_with_the_disk,
    ]  # fmt: skip

    # What is asked of the daemon may have to wait for the disk.
    _WHILE_IT_IS_FROZEN: ClassVar[list[Callable[[Story], None]]] = [
        _act, _act, _delete_the_cache, _kill_with_the_disk,
    ]  # fmt: skip

    def _meanwhile(self) -> None:
        """While no daemon runs: more on the phone, a sync without a mount, a token that is garbage."""
        self.person.act(self._chance.randint(0, 3))
        if self._chance.random() < 0.3:
            with self._command("sync", *self._sync_flags()):
                pass
        if self._chance.random() < 0.3:
            self._spoil_a_token()

    def _kill_daemon(self) -> None:
        self.library.kill(self._daemon)
        self.happened["killed"] += 1

    def _sync_flags(self) -> tuple[str, ...]:
        chosen = ["--mirror", self._chance.choice(["demand", "favorites", "everything"])]
        if self._chance.random() < 0.3:
            chosen.append(self._chance.choice(["--no-incremental", "--reset-sync-token"]))
        return tuple(chosen)

    def _some_command(self) -> tuple[str, ...]:
        return self._chance.choice(
            [
                ("sync", *self._sync_flags()),
                ("verify", "--checksums"),
                ("cache", "prefetch", "Library"),
            ]
        )

    def _spoil_a_token(self) -> None:
        (path,) = self.library.state.glob("*.db")
        with closing(sqlite3.connect(path)) as connection, connection:
            if not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
                return  # the power was cut before anything was in it
            keys = connection.execute(
                "SELECT key FROM metadata WHERE key GLOB '*_token:*' AND key NOT GLOB 'received:*'"
                " ORDER BY key"
            ).fetchall()
            if keys:
                (key,) = self._chance.choice(keys)
                self._tell(f"spoilt {key}")
                self.happened["spoilt"] += 1
                connection.execute("UPDATE metadata SET value = 'garbage' WHERE key = ?", (key,))

    # -- programs --------------------------------------------------------------------------------

    @contextmanager
    def _command(self, *words: str, killed: bool = False) -> Iterator[subprocess.Popen[str]]:
        """``icloudfs`` with these words, under way. It ends in words, whatever goes wrong."""
        process = self.library.scratch.start(
            ICLOUDFS, *words, environment=self.library.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            yield process
            said, complained = process.communicate(timeout=60)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        self._tell(f"{' '.join(words)}: {process.returncode} {said}{complained}".replace("\n", " "))
        permitted = {-signal.SIGKILL} if killed else set()
        assert process.returncode in self._SPEAKING | permitted, complained
        assert "Traceback" not in complained, complained

    @contextmanager
    def _nobody_reading(self) -> Iterator[None]:
        """A folder in which something is open is in use and cannot be unmounted."""
        with ExitStack() as rest:
            for reader in self.readers:
                rest.enter_context(reader.resting())
            yield
