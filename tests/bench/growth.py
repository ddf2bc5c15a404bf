"""What must not grow with the library: syncs, a new photo's way into the mount, the daemon's memory.

Databases of several sizes (``generated``), each with a daemon and a simulator of its own. The simulator
holds a few photos and says of all the others "nothing changed"; its phone adds, edits and deletes beside
them. All sizes are measured in turn, so that a machine that is busy now and then is it for all of them.
"""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.bench.generated import generate, to_stderr
from tests.bench.mounts import find, find_some, mounted
from tests.bench.processes import memory_of, processor_time, timed_child
from tests.bench.stand import Stand, standing, wait_for

Figures = dict[str, Any]
T = TypeVar("T")

_IN_THE_SIMULATOR = 20
_INTERVAL = 2.0
"""Seconds between two looks of the daemon at iCloud."""
_SLACK = 1.0
"""Seconds after the next look until a photo must be seen."""
_A_LISTING = 0.02
"""Seconds between two listings of the folder that a photo is to appear in."""
_ENTRIES = 50_000

_SYNC = [sys.executable, "-m", "icloudfs", "sync", "--mirror", "demand"]
_STATUS = [sys.executable, "-m", "icloudfs", "status", "--json"]


def measure(sizes: Sequence[int], latency: float, rounds: int) -> list[Figures]:
    """The figures of each size; ``latency`` in milliseconds a call."""
    with ExitStack() as stack:
        subjects = [stack.enter_context(_subject(photos, latency)) for photos in sizes]

        def in_turn(measurement: Callable[[_Subject], None]) -> None:
            for _ in range(rounds):
                for subject in subjects:
                    measurement(subject)

        in_turn(_Subject.mount_and_look)
        for subject in subjects:
            place, _ = stack.enter_context(mounted(subject.stand, "--interval", str(_INTERVAL)))
            subject.begin(place)
        in_turn(_Subject.sync)
        for subject in subjects:
            subject.sum_up_syncs()
            subject.find_some()
        in_turn(_Subject.use_phone)
        in_turn(_Subject.ask_for_status)
        for subject in subjects:
            subject.find_all()
        return [subject.figures() for subject in subjects]


@contextmanager
def _subject(photos: int, latency: float) -> Iterator[_Subject]:
    with standing(_IN_THE_SIMULATOR, latency) as stand:
        stand.icloudfs("sync", "--mirror", "demand")
        began = time.monotonic()
        generate(stand.database, photos, to_stderr)
        subject = _Subject(stand)
        subject.note("generated_photos", photos)
        subject.note("generating_s", time.monotonic() - began)
        subject.note("database_mb", stand.database.stat().st_size / (1 << 20))
        yield subject


class _Subject:
    """One size, and what was measured of it."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self._samples: dict[str, list[float]] = {}
        self._place = Path()
        self._daemon = 0
        self._spent_before = 0.0
        self._runs_before = 0
        self._shots = 0

    def note(self, name: str, value: float) -> None:
        self._samples.setdefault(name, []).append(value)

    def figures(self) -> Figures:
        """The median of everything that was measured more than once; the worst, too, of what is promised."""
        figures: Figures = {}
        for name, samples in self._samples.items():
            figures[name] = statistics.median(samples)
            if name.endswith("_seen_s"):
                figures[f"{name}_at_worst"] = max(samples)
        worst = max(value for name, value in figures.items() if name.endswith("_at_worst"))
        return figures | {"all_seen_within_interval_and_1_s": worst <= _INTERVAL + _SLACK}

    # -- the mount -------------------------------------------------------------------------------

    def mount_and_look(self) -> None:
        with mounted(self.stand) as (place, began):
            list(place.iterdir())
            self.note("mount_to_first_ls_s", time.monotonic() - began)

    def begin(self, place: Path) -> None:
        """From now on there is a daemon."""
        self._place = place
        self._daemon = self.stand.daemon
        self._note_memory("mounting")
        self._spent_before = processor_time(self._daemon)
        (self._runs_before,) = self._ask("SELECT max(id) FROM sync_runs")[0]

    def find_some(self) -> None:
        self.note("found_entries", find_some(self._place, _ENTRIES))
        self._note_memory("find_of_some")

    def find_all(self) -> None:
        self.note("find_of_all_s", find(self._place))
        self._note_memory("find_of_all")

    def _note_memory(self, after: str) -> None:
        memory = memory_of(self._daemon)
        self.note(f"daemon_rss_after_{after}_mb", memory.resident)
        self.note(f"daemon_peak_after_{after}_mb", memory.peak)

    # -- nothing changed -------------------------------------------------------------------------

    def sync(self) -> None:
        self.note("unchanged_command_s", timed_child(_SYNC, self.stand.environment)[0])

    def sum_up_syncs(self) -> None:
        """All since the beginning: those on demand, and those that the daemon made by itself."""
        spent = processor_time(self._daemon) - self._spent_before
        runs = self._ask(
            "SELECT api_calls, bytes, completed_at - started_at FROM sync_runs"
            " WHERE id > ? AND completed_at IS NOT NULL",
            self._runs_before,
        )
        self.note("unchanged_runs", len(runs))
        self.note("unchanged_calls", max(calls for calls, _, _ in runs))
        self.note("unchanged_bytes", max(received for _, received, _ in runs))
        self.note("unchanged_run_ms", statistics.median(s for _, _, s in runs) * 1000)
        self.note("unchanged_daemon_cpu_ms", spent / len(runs) * 1000)
        self._note_memory("syncs")

    def _ask(self, question: str, *values: int) -> list[Any]:
        """Of the database itself: ``status`` shows no more than the last five syncs."""
        source = f"file:{self.stand.database}?mode=ro"
        with closing(sqlite3.connect(source, uri=True)) as connection:
            return connection.execute(question, values).fetchall()

    def ask_for_status(self) -> None:
        self.note("status_s", timed_child(_STATUS, self.stand.environment)[0])

    # -- what the phone does ---------------------------------------------------------------------

    def use_phone(self) -> None:
        """The life of a photo: from each act until a plain listing of its folder shows what came of it."""
        self._shots += 1
        stem = f"PHONE_{self._shots:04}"
        taken = time.time() - 45 * 86_400  # in a month that the library is full of
        folder = self._place / "Library" / time.strftime("%Y/%Y-%m", time.gmtime(taken))
        phone = self.stand.control.phone
        shot = {"kind": "jpeg", "filename": f"{stem}.JPG", "taken": int(taken * 1000)}
        photo, added = _seen(lambda: phone("add_photo", **shot), folder, stem, files=1)
        asset = photo["asset"]
        _, edited = _seen(lambda: phone("edit", asset=asset), folder, stem, files=2)
        _, deleted = _seen(lambda: phone("delete", asset=asset), folder, stem, files=0)
        self.note("added_seen_s", added)
        self.note("edited_seen_s", edited)
        self.note("deleted_seen_s", deleted)


def _seen(act: Callable[[], T], folder: Path, stem: str, files: int) -> tuple[T, float]:
    """What an act gives, and the seconds from it until the folder has so many files of that name."""
    # Without this every act would fall right behind a sync, as the one before was seen then.
    time.sleep(random.uniform(0, _INTERVAL))
    began = time.monotonic()
    given = act()
    wait_for(lambda: _shows(folder, stem, files) or None, f"{files} files of {stem}", _A_LISTING)
    return given, time.monotonic() - began


def _shows(folder: Path, stem: str, files: int) -> bool:
    try:
        with os.scandir(folder) as entries:
            return sum(entry.name.startswith(stem) for entry in entries) == files
    except FileNotFoundError:  # nothing else is of that month
        return files == 0
