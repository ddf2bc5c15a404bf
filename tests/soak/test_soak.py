"""What a daemon needs stays the same, however long it runs: memory, descriptors, threads.

Somebody works on the phone and programs read, with a cache that is far smaller than what they read, so that
everything comes and goes: photos, files, cached content, connections. ``scripts/soak`` runs it.
"""

from __future__ import annotations

import os
import random
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from icloudfs.simulator import ControlClient
from tests.bench.processes import memory_of
from tests.scratch import scratch_folder
from tests.whole.library import ALL_VIEWS, Library
from tests.whole.local_icloud import LocalICloud
from tests.whole.story import Person, Reader

_MINUTES = float(os.environ.get("ICLOUDFS_SOAK_MINUTES", "60"))
_EVERY = 5.0
"""Seconds between two looks at the daemon."""
_PAUSE = 0.5
"""Seconds between two acts on the phone."""
_MOST_PHOTOS = 200
"""Above that, one goes for each that comes: what is to stay the same is the library, too."""
_CACHE_LIMIT = "20M"
_MAY_GROW = 1.05
_FEW = 2
"""So many more descriptors or threads are chance."""


class Needs(NamedTuple):
    """What the daemon had at one look. Memory in MB."""

    at: float
    """Minutes since the mount."""
    resident: float
    descriptors: int
    threads: int


def test_a_daemon_needs_no_more_in_the_end_than_after_its_first_minutes() -> None:
    with scratch_folder() as scratch:
        icloud = LocalICloud(scratch, assets=130)
        library = Library(icloud, scratch)
        library.environment |= {
            "ICLOUDFS_CACHE_LIMIT": _CACHE_LIMIT,
            "ICLOUDFS_INTERVAL": "1",
            "ICLOUDFS_THUMBNAILS": "true",
        }
        library.login()
        library.sync()
        library.mount(views=ALL_VIEWS)
        try:
            with _readers(library), _phone(icloud.control):
                needs = list(_looks(library.daemon))
        finally:
            library.unmount()
            icloud.stop()
        assert "Traceback" not in library.log.read_text()
    _judge(needs)


def _looks(daemon: int) -> Iterator[Needs]:
    process = Path(f"/proc/{daemon}")
    began = time.monotonic()
    told = -1
    while (minutes := (time.monotonic() - began) / 60) < _MINUTES:
        time.sleep(_EVERY)
        threads, descriptors = (len(list((process / it).iterdir())) for it in ("task", "fd"))
        needs = Needs(minutes, memory_of(daemon).resident, descriptors, threads)
        if int(minutes) > told:
            told = int(minutes)
            print(
                f"  {minutes:5.1f} min {needs.resident:6.1f} MB, {descriptors} open, {threads} threads"
            )
        yield needs


@contextmanager
def _readers(library: Library) -> Iterator[None]:
    readers = [Reader(library, random.Random(f"reader {number}")) for number in range(2)]
    for reader in readers:
        reader.start()
    try:
        yield
    finally:
        for reader in readers:
            reader.end()
    assert [line for reader in readers for line in reader.wrong] == []
    assert sum(reader.reads for reader in readers) > 100 * _MINUTES


@contextmanager
def _phone(control: ControlClient) -> Iterator[None]:
    """A person at the phone all the time."""
    ended = threading.Event()
    went_wrong: list[Exception] = []
    person = Person(control, random.Random("phone"))

    def act() -> None:
        try:
            while not ended.wait(_PAUSE):
                person.act()
                person.keep_to(_MOST_PHOTOS)
        except Exception as error:
            went_wrong.append(error)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert not went_wrong, went_wrong
    assert sum(person.actions.values()) > 10 * _MINUTES


def _judge(needs: list[Needs]) -> None:
    """The last sixth of the time beside the sixth after the first: memory by its median, numbers by their
    highest, since they go up and down with what is read just then."""
    part = len(needs) // 6
    early, late = needs[part : 2 * part], needs[-part:]
    before, after = (statistics.median(look.resident for look in some) for some in (early, late))
    print(f"  MB: {before:g}, then {after:g}")
    assert after <= before * _MAY_GROW
    for what in ("descriptors", "threads"):
        most, most_late = (max(getattr(look, what) for look in some) for some in (early, late))
        print(f"  {what} at most: {most}, then {most_late}")
        assert most_late <= most + _FEW, what
