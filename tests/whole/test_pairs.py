"""Two commands at once: each gives its result or says in one sentence why not, and the state is whole.

What the second gives while the first is under way. The first always gives its result.

    first  \\ second  sync     verify   watch    reset    mount
    sync             result   result   result   refused  refused   the second's work is done by the first
    verify           result   result   result   refused  refused   likewise
    watch            result   result   result   result   result    who only looks is in nobody's way
    reset            refused  refused  result   refused  refused   it waits for its "y", holding the lock
    mount            result   result   result   refused  refused   the daemon does the second's work

``sync`` downloads everything; ``verify`` reads everything and mends it; ``watch`` is ``status --watch``.
``refused`` is AlreadyRunning: exit code 8, and a sentence that names the first and its process.

Started at the same moment, either may be the first: one at least gives its result, the other its result
or that sentence; both give theirs if one only looks. How often each such race is run is said by
ICLOUDFS_PAIR_RUNS, once if it is not set; from which seed on by ICLOUDFS_PAIR_SEED.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from icloudfs import config
from icloudfs.control.messages import Evict, Request, Sync, Verify
from icloudfs.control.socket import socket_path
from icloudfs.errors import AlreadyRunning
from icloudfs.library import perform
from icloudfs.sync.mirror import Mirror
from tests.scratch import ICLOUDFS, scratch_folder, wait_until
from tests.whole.library import Library
from tests.whole.local_icloud import LocalICloud
from tests.whole.test_killed import rows

RESULT, REFUSED = "result", "refused"

EXPECTED = {
    ("sync", "sync"): RESULT,
    ("sync", "verify"): RESULT,
    ("sync", "watch"): RESULT,
    ("sync", "reset"): REFUSED,
    ("sync", "mount"): REFUSED,
    ("verify", "sync"): RESULT,
    ("verify", "verify"): RESULT,
    ("verify", "watch"): RESULT,
    ("verify", "reset"): REFUSED,
    ("verify", "mount"): REFUSED,
    ("watch", "sync"): RESULT,
    ("watch", "verify"): RESULT,
    ("watch", "watch"): RESULT,
    ("watch", "reset"): RESULT,
    ("watch", "mount"): RESULT,
    ("reset", "sync"): REFUSED,
    ("reset", "verify"): REFUSED,
    ("reset", "watch"): RESULT,
    ("reset", "reset"): REFUSED,
    ("reset", "mount"): REFUSED,
    ("mount", "sync"): RESULT,
    ("mount", "verify"): RESULT,
    ("mount", "watch"): RESULT,
    ("mount", "reset"): REFUSED,
    ("mount", "mount"): REFUSED,
}

COMMANDS = ("sync", "verify", "watch", "reset", "mount")
PAIRS = list(itertools.combinations_with_replacement(COMMANDS, 2))
WORDS: dict[str, tuple[str, ...]] = {
    "sync": ("sync",),
    "verify": ("verify", "--checksums", "--repair"),
    "watch": ("status", "--watch", "--json", "--every", "0.1"),
    "reset": ("reset-state", "--yes"),
}

ASSETS = 20
CONNECTIONS = 2
"""Requests to iCloud at a time, so that few photos keep a command busy."""
LONGEST = 60.0
"""Seconds for any command, whatever is in its way."""
DOWNLOAD = 0.5
"""Seconds that each download takes while a first command is to be under way; some ten times as long all
of them."""
OFFSET = 0.15
"""Seconds between the two starts of a race, at the most. Python alone takes twice as long to begin."""

RUNS = int(os.environ.get("ICLOUDFS_PAIR_RUNS", "1"))
FIRST_SEED = int(os.environ.get("ICLOUDFS_PAIR_SEED", "1"))

HUNG = ("mount",) if RUNS == 1 else ("mount", "sync", "verify", "reset")
BUSY = ("mount",) if RUNS == 1 else ("mount", "sync")
"""Beside which first ones all other commands are given: that takes long, and they differ little."""


class Running:
    """A command that was started, and the files that it writes to: nobody has to read along."""

    _numbers = itertools.count()

    def __init__(self, library: Library, name: str, *words: str | Path) -> None:
        self.name = name
        self._stem = library.scratch.folder / f"{next(self._numbers)}-{name}"
        with self._file("out").open("w") as out, self._file("err").open("w") as err:
            self.process = library.scratch.start(
                ICLOUDFS,
                *words,
                environment=library.environment,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
            )

    def _file(self, name: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{name}")

    @property
    def said(self) -> str:
        return self._file("out").read_text()

    @property
    def complaint(self) -> str:
        return self._file("err").read_text()

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def end(self) -> int:
        """Its exit code. One that waits for its person hears from them now."""
        if self.name == "watch":
            self._until_it_shows_something()
            self.process.send_signal(random.choice([signal.SIGINT, signal.SIGTERM]))
        if not self.has_ended:
            self._say("y\n")
        return self.process.wait(LONGEST)

    def _say(self, answer: str) -> None:
        """To a question, if it asks one."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError), self.process.stdin as standard_input:
            standard_input.write(answer)

    def _until_it_shows_something(self) -> None:
        """Before that it may be just beginning, and a signal then ends any program its own way."""
        wait_until(lambda: "\n" in self.said or self.has_ended, LONGEST)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __repr__(self) -> str:
        return f"{self.name} ended with {self.process.poll()}: {self.said[:300]} {self.complaint}"


class Desk:
    """Where commands are given to one library. It stays the same throughout: what one pair leaves behind is
    what the next one finds."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.settings = config.load({}, environment=library.environment)
        self._given: list[Running] = []

    def give(self, name: str, *words: str | Path) -> Running:
        library = self.library
        if name == "mount":
            words = ("mount", library.mount_point, "--log-file", library.log)
        running = Running(library, name, *(words or WORDS[name]))
        self._given.append(running)
        return running

    def clear(self) -> None:
        """End what a failed test left running."""
        for running in self._given:
            if not running.has_ended:
                running.kill()
        self._given.clear()
        for process in self.processes():
            os.kill(process, signal.SIGKILL)
        if self.library.is_mounted:
            self.library.scratch.run("umount", "-l", self.library.mount_point)

    def processes(self) -> list[int]:
        """Those of this library: all but the local iCloud."""
        found = self.library.scratch.processes()
        return [pid for pid in found if pid != self.library.icloud.process.pid]

    def unmount(self) -> None:
        """By a signal to its daemon, which is quicker than a command."""
        if self.library.is_mounted:
            daemon = self.library.daemon
            os.kill(daemon, signal.SIGTERM)
            wait_until(lambda: daemon not in self.processes(), LONGEST)

    def do(self, request: Request) -> Any:
        """What a command would do, without waiting for another Python to begin."""
        return trio.run(partial(perform, self.settings, request))

    # -- before ----------------------------------------------------------------------------------

    def have_nothing_downloaded(self) -> None:
        self.do(Evict())

    def have_everything_downloaded(self) -> Any:
        return self.do(Sync(mirror=Mirror("everything")))

    def have_every_download_missing(self) -> None:
        self.have_everything_downloaded()
        for path in self.library.cached_files():
            path.unlink()

    def have_nothing_listed(self) -> None:
        for path in self.library.state.glob("*.db*"):
            path.unlink()

    def slow_downloads(self) -> None:
        self.library.icloud.control.set_fault("content", "delay", seconds=DOWNLOAD)

    def further_commands(self) -> list[tuple[str, ...]]:
        """Those that do something about contents."""
        mine = self.library.scratch.folder / "mine"
        mine.mkdir(exist_ok=True)
        (mine / "other.jpg").write_bytes(b"not a photo of the library")
        return [
            ("retry-failed",),
            ("import-existing", "-d", str(mine)),
            ("cache", "prefetch", "Favorites"),
            ("cache", "pin", "Videos"),
            ("cache", "unpin", "Videos"),
            ("cache", "evict"),
        ]

    def under_way(self, name: str) -> Running:
        """A first command that goes on until it is released."""
        icloud = self.library.icloud
        if name in ("sync", "verify"):
            (self.have_nothing_downloaded if name == "sync" else self.have_every_download_missing)()
            icloud.control.reset_traffic()
            self.slow_downloads()
        first = self.give(name, *(["reset-state"] if name == "reset" else []))
        match name:
            case "sync" | "verify":
                wait_until(lambda: icloud.calls(kind="content"), LONGEST)
            case "watch" | "reset":
                wait_until(lambda: first.said, LONGEST)
            case "mount":
                assert first.end() == 0, first
        assert name == "mount" or not first.has_ended, first
        return first

    def release(self) -> None:
        self.library.icloud.control.clear_faults()

    def holder_of(self, first: Running) -> int:
        """The process that goes on: of a mount, its daemon."""
        return self.library.daemon if first.name == "mount" else first.process.pid

    def is_alive(self, process: int) -> bool:
        return process in self.processes()

    def waits(self, second: Running, holder: int) -> bool:
        """Whether the second has nothing to do any more but wait: for the first, or to be interrupted."""
        if second.name == "watch":
            return second.said.count("\n") > 1
        path = socket_path(self.settings.cookie_directory, self.settings.username)
        return bool(connections(path.name) & descriptors(holder))

    # -- after -----------------------------------------------------------------------------------

    def is_whole(self) -> None:
        """Assert that nothing came to harm."""
        self.release()
        self.unmount()
        self.is_sound()
        synced = self.have_everything_downloaded()
        assert (synced["failed"], synced["left_out"]) == (0, 0)
        verified = self.do(Verify(checksums=True))
        assert verified["ok"], verified
        assert verified["checked"] == len(self.library.cached_files())
        manifest = self.library.icloud.manifest()
        assert rows(self.library) == sorted((entry["zone"], entry["asset"]) for entry in manifest)
        self.is_sound()
        assert "Traceback" not in self.told()
        assert "unforeseen" not in self.told()

    def is_sound(self) -> None:
        """Assert that SQLite finds nothing wrong with the database, if there is one."""
        for path in self.library.state.glob("*.db"):
            with closing(sqlite3.connect(path)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    def told(self) -> str:
        """All that the commands of this test have said anywhere."""
        log = self.library.log.read_text() if self.library.log.exists() else ""
        return log + "".join(running.said + running.complaint for running in self._given)


def descriptors(process: int) -> set[str]:
    """What its descriptors are."""
    found = set()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed just then
            found.add(str(entry.readlink()))
    return found


def connections(socket: str) -> set[str]:
    """Those that were made to a socket of this name, as their descriptors are shown."""
    lines = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return {
        f"socket:[{words[6]}]"
        for words in lines
        if len(words) > 7 and words[7].endswith(f"/{socket}") and words[5] == "03"
    }


@pytest.fixture(scope="module")
def _home() -> Iterator[Desk]:
    with scratch_folder() as scratch:
        icloud = LocalICloud(scratch, assets=ASSETS)
        library = Library(icloud, scratch)
        library.environment["ICLOUDFS_CONNECTIONS"] = str(CONNECTIONS)
        library.login()
        library.icloudfs("sync")
        yield Desk(library)
        icloud.stop()


@pytest.fixture
def desk(_home: Desk) -> Iterator[Desk]:
    """Signed in, listed, everything downloaded; nothing is running."""
    _home.library.log.unlink(missing_ok=True)
    yield _home
    _home.release()
    _home.clear()


def assert_refused(refused: Running, holder: int | str) -> None:
    """It said in one sentence who is in its way, in another what to do, and nothing else."""
    assert refused.process.returncode == AlreadyRunning.exit_code, refused
    assert refused.said == "", refused
    sentence, hint = refused.complaint.splitlines()
    assert sentence.startswith("icloudfs: icloudfs is already running for "), refused
    assert f"process {holder})" in sentence, refused
    assert hint.startswith("  "), refused


# -- one after the other ---------------------------------------------------------------------------


@pytest.mark.parametrize("first, second", [pytest.param(*p, id="-".join(p)) for p in EXPECTED])
def test_while_the_first_is_under_way(desk: Desk, first: str, second: str) -> None:
    under_way = desk.under_way(first)
    holder = desk.holder_of(under_way)

    other = desk.give(second)
    wait_until(lambda: other.has_ended or desk.waits(other, holder), LONGEST)
    assert desk.is_alive(holder), "they were not at work at the same time"
    desk.release()

    other.end()
    if EXPECTED[first, second] == RESULT:
        assert other.process.returncode == 0, other
    else:
        assert_refused(other, holder)
    assert under_way.end() == 0, under_way
    desk.is_whole()


# -- at the same moment ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + RUNS))
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_started_at_the_same_moment(desk: Desk, pair: tuple[str, str], seed: int) -> None:
    chance = random.Random(f"{pair} {seed}")
    if chance.random() < 0.5:
        desk.have_nothing_listed()
    names = chance.sample(pair, 2)

    one = desk.give(names[0])
    time.sleep(chance.uniform(0, OFFSET))
    other = desk.give(names[1])
    # Whoever watches goes on as long as the other works.
    both = sorted([one, other], key=lambda running: running.name == "watch")
    codes = [running.end() for running in both]

    assert 0 in codes, both
    if "watch" in pair:
        assert codes == [0, 0], both
    for running in both:
        if running.process.returncode:
            assert running.process.returncode == AlreadyRunning.exit_code, running
            assert running.complaint.startswith("icloudfs: icloudfs is already running"), running
    desk.is_whole()


# -- the first dies or hangs -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "first, second", [("sync", "sync"), ("verify", "verify"), ("mount", "sync")]
)
def test_the_first_is_killed_while_the_second_waits(desk: Desk, first: str, second: str) -> None:
    """The second then does by itself what the first was to do for it."""
    under_way = desk.under_way(first)
    holder = desk.holder_of(under_way)
    if first == "mount":
        desk.have_nothing_downloaded()
        desk.slow_downloads()
    other = desk.give(second)
    wait_until(lambda: other.has_ended or desk.waits(other, holder), LONGEST)
    assert not other.has_ended, other

    os.kill(holder, signal.SIGKILL)
    under_way.process.wait()
    desk.release()

    assert other.end() == 0, other
    if first == "mount":
        desk.library.scratch.run("umount", desk.library.mount_point)
    desk.is_whole()


@pytest.mark.parametrize("first", HUNG)
def test_beside_one_that_hangs(desk: Desk, first: str) -> None:
    """All commands at once: each that needs the first gives up soon, and says so."""
    under_way = desk.under_way(first)
    holder = desk.holder_of(under_way)
    os.kill(holder, signal.SIGSTOP)
    began = time.monotonic()

    others = [desk.give(name) for name in COMMANDS]
    others += [desk.give(words[0], *words) for words in desk.further_commands()]
    doctor = desk.give("doctor", "doctor")
    for other in (*others, doctor):
        other.end()
    print(f"\nall had given up on a hung {first} within {time.monotonic() - began:.1f} s")

    for other in others:
        if other.name == "watch":
            assert other.process.returncode == 0, other
            assert json.loads(other.said.splitlines()[-1])["now"] is None
        else:
            assert_refused(other, holder)
    if first == "mount":
        assert f"{desk.library.mount_point} does not answer" in doctor.said
    os.kill(holder, signal.SIGCONT)
    desk.release()
    assert under_way.end() == 0, under_way
    desk.is_whole()


# -- all at once -----------------------------------------------------------------------------------


@pytest.mark.parametrize("first", BUSY)
def test_every_other_command_meanwhile(desk: Desk, first: str) -> None:
    """Those that fetch, keep, drop and take in contents, all at the same time."""
    under_way = desk.under_way(first)

    others = [desk.give(words[0], *words) for words in desk.further_commands()]

    assert [other.end() for other in others] == [0] * len(others), others
    desk.release()
    assert under_way.end() == 0, under_way
    desk.is_whole()
