"""icloudfs and ``rclone mount`` side by side: the same library, the same simulator, each in turn.

    scripts/bench --race [--assets N] [--latency MS] [--line MB] [--rounds N] [--only NAME] [--json FILE]

What is done stands in ``works``, who does it in ``contenders``. Every work that uses the network is done
near iCloud (nothing is added to a call) and far from it (``--latency``); what is cached is done near it,
which favours rclone, as it asks iCloud at every open even then. What transfers much is done a third time,
far from iCloud and over a line as people have it (``--line``): within one machine a byte comes at the price
of a copy, and what is measured is how long hashing and keeping it take. Who begins alternates from round to
round, so that a machine that grows busy or tired does so for both.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.contenders import Contender, Icloudfs, Rclone, free_memory
from tests.bench.goals import Medians
from tests.bench.mounts import find
from tests.bench.racecourse import racecourse
from tests.bench.works import MEMORY, WORKS, YARDSTICK, Field, Sample, Work

_MANY = 10
"""The memory of a library so many times as large must be the same."""
_FLAT = 1.25
"""Times the memory of the small library that the large one may take: allocators and caches vary."""

Samples = dict[str, list[Sample]]
"""By contender, ``YARDSTICK`` or ``FLOOR``."""


def names() -> list[str]:
    """What can be asked for by itself."""
    return [work.name for work in (*WORKS, MEMORY)]


class Distance(NamedTuple):
    """How far away iCloud is."""

    latency: float
    """Milliseconds that a call takes longer."""
    line: float = 0.0
    """MB/s that a content comes with at most; 0: as fast as this machine can."""

    def is_for(self, work: Work) -> bool:
        return work.transfers if self.line else work.far or not self.latency


def run(
    assets: int, latency: float, line: float, rounds: int, only: Sequence[str]
) -> dict[str, Any]:
    """The whole race; what it came to, ready for JSON."""
    works = [work for work in WORKS if not only or work.name in only]
    distances = [Distance(0.0)]
    if latency:
        distances += [Distance(latency), Distance(latency, line)]
    lines: list[dict[str, Any]] = []
    about: dict[str, Any] = {"assets": assets, "latency_ms": latency, "rounds": rounds}
    loads: list[float] = []
    if works:
        with _field(assets, len(distances) * rounds) as field:
            race = _Race(field, rounds, loads)
            for turn, distance in enumerate(distances):
                field.course.set_distance(*distance)
                for work in filter(distance.is_for, works):
                    lines += race.hold(work, distance, first_turn=turn * rounds)
    if not only or MEMORY.name in only:
        lines += _memory(assets, loads)
    about |= {"load_average": {"median": statistics.median(loads), "most": max(loads)}}
    return about | {"figures": lines}


@contextmanager
def _field(assets: int, each: int) -> Iterator[Field]:
    home = Path(tempfile.mkdtemp(prefix="icloudfs-race-"))
    contenders: list[Contender] = []
    try:
        with racecourse(home, assets, each) as course:
            ours, theirs = Icloudfs(course, home / "icloudfs"), Rclone(course, home / "rclone")
            contenders += [ours, theirs]
            _note(f"{assets} assets; rclone {theirs.version()}")
            try:
                yield Field(course, ours, (ours, theirs), home)
            finally:
                for contender in contenders:
                    contender.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


class _Race:
    def __init__(self, field: Field, rounds: int, loads: list[float]) -> None:
        self._field = field
        self._rounds = rounds
        self._loads = loads

    def hold(self, work: Work, distance: Distance, first_turn: int = 0) -> list[dict[str, Any]]:
        """All rounds of one work; a line for each of its figures."""
        samples: Samples = {}
        with self._readied(work):
            for turn in range(1 if work.once else self._rounds):
                self._take_turns(work, first_turn + turn, samples)
        return list(_lines(work, distance, samples))

    @contextmanager
    def _readied(self, work: Work) -> Iterator[None]:
        """Both mounted and at rest if the work wants it so, and prepared."""
        try:
            if work.mounted:
                for contender in self._field.contenders:
                    contender.start(ahead=not work.cold)
                    contender.wait_until_listed()
                    find(contender.mount_point)
            if work.prepare:
                for contender in self._field.contenders:
                    work.prepare(contender, self._field)
            yield
        finally:
            for contender in self._field.contenders:
                contender.stop()

    def _take_turns(self, work: Work, turn: int, samples: Samples) -> None:
        contenders = self._field.contenders
        if work.yardstick:
            self._settle(work)
            for who, sample in work.yardstick(self._field, turn).items():
                samples.setdefault(who, []).append(sample)
        for contender in contenders if turn % 2 else reversed(contenders):
            self._settle(work)
            sample = work.sample(contender, self._field, turn)
            samples.setdefault(contender.name, []).append(sample)
            _note(f"{work.name} {turn}: {contender.name} {_told(sample)}")

    def _settle(self, work: Work) -> None:
        self._field.course.settle()
        os.sync()
        if work.cold:
            free_memory()
        self._loads.append(os.getloadavg()[0])


def _memory(assets: int, loads: list[float]) -> list[dict[str, Any]]:
    """One line for each size, and one that compares ours."""
    lines: list[dict[str, Any]] = []
    for size in (assets, _MANY * assets):
        with _field(size, each=0) as field:
            work = MEMORY._replace(what=f"{MEMORY.what}, {size:,} assets")
            lines += _Race(field, 1, loads).hold(work, Distance(0.0))
    small, large = (line["medians"]["icloudfs"] for line in lines)
    lines.append(
        {
            "work": MEMORY.name,
            "what": f"icloudfs's peak, {_MANY} x the assets",
            "figure": "growth",
            "latency_ms": 0.0,
            "line_mb_s": 0.0,
            "samples": {},
            "medians": {"icloudfs": large / small},
            "must_be": f"flat: <= {_FLAT}",
            "met": large / small <= _FLAT,
        }
    )
    return lines


def _lines(work: Work, distance: Distance, samples: Samples) -> Iterator[dict[str, Any]]:
    for figure in samples["icloudfs"][0]:
        found = {
            who: [sample[figure] for sample in some]
            for who, some in samples.items()
            if figure in some[0]
        }
        medians = {who: statistics.median(some) for who, some in found.items()}
        of_goal = Medians(medians["icloudfs"], medians["rclone"], medians.get(YARDSTICK))
        goal = work.goals.get(figure)
        yield {
            "work": work.name,
            "what": work.what,
            "figure": figure,
            "latency_ms": distance.latency,
            "line_mb_s": distance.line,
            "samples": found,
            "medians": medians,
            "ratio": of_goal.ratio,
            "must_be": goal.must_be if goal else "",
            "met": goal.is_met(of_goal) if goal else None,
        }


def _told(sample: Sample) -> str:
    return ", ".join(f"{figure} {value:,.3f}" for figure, value in sample.items())


def _note(text: str) -> None:
    load = os.getloadavg()[0]
    print(f"{time.strftime('%X')} (load {load:.1f})  {text}", file=sys.stderr, flush=True)
