"""The works of a race: each a function that does something once with one contender, and says what it took.

Figures are seconds unless their names say something else. ``turn`` counts through a whole race, over
latencies and rounds: what can be read cold only once is taken by that number.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

from tests.bench import racecourse
from tests.bench.contenders import Contender, Icloudfs, drop_kernel_caches
from tests.bench.goals import (
    Goal,
    ahead,
    ahead_or_as_fast,
    at_most,
    between,
    exactly,
    nearly_nothing,
    within,
)
from tests.bench.mounts import bare_mounted, find, seen_below
from tests.bench.processes import memory_of, processor_time
from tests.bench.racecourse import Racecourse
from tests.bench.stand import wait_for

Sample = dict[str, float]

_PIECE = 1 << 20
_END = 64 * 1024
"""Bytes that a player reads at the end of a video before it shows anything."""
_SMALL_FILES = 1000
_A_POLL = 2.0
"""Seconds between two polls, for both, so that a race need not wait for many minutes."""
_POLLS = 5
_A_LOOK = 1.0
"""Seconds at each photo of several."""
_LONGEST = 600.0


class Field(NamedTuple):
    """Where a race takes place, and who is in it."""

    course: Racecourse
    icloudfs: Icloudfs
    contenders: tuple[Contender, ...]
    home: Path


YARDSTICK, FLOOR = "yardstick", "floor"
Yardstick = Callable[[Field, int], dict[str, Sample]]
"""What is done beside the contenders, with figures of the same names: the ``YARDSTICK`` that they are judged
by, and the ``FLOOR`` that nobody gets below on this machine who does what icloudfs must do besides."""


class Work(NamedTuple):
    """One line of the programme; its figures are judged by the goals of the same names."""

    name: str
    what: str
    sample: Callable[[Contender, Field, int], Sample]
    goals: dict[str, Goal]
    far: bool = False
    """Whether the network is used, so that it is done once near iCloud and once far from it."""
    transfers: bool = False
    """Whether contents are transferred, so that it is done once over a line as people have it."""
    mounted: bool = True
    """Whether both are mounted and at rest before it begins; if not, neither is running."""
    cold: bool = False
    """Whether what it reads must be nobody's yet: nothing is fetched before somebody asks for it."""
    once: bool = False
    """Whether it counts what is the same every time."""
    prepare: Callable[[Contender, Field], None] | None = None
    yardstick: Yardstick | None = None


# -- from nothing ----------------------------------------------------------------------------------


def listing_by_command(contender: Contender, field: Field, turn: int) -> Sample:
    """The fairest pair: both commands end when the list is complete, and nobody else looks at it.

    ``rclone lsf -R`` prints the list as well, which costs it next to nothing.
    """
    contender.forget()
    field.course.begin_counting()
    began = time.monotonic()
    contender.list_everything()
    seconds = time.monotonic() - began
    traffic = field.course.traffic()
    return {"seconds": seconds, "calls": traffic["total"], "megabytes": traffic["bytes_out"] / 1e6}


def listing_by_mount(contender: Contender, field: Field, turn: int) -> Sample:
    """The same as a person meets it: mount, and wait until ``find`` has everything.

    icloudfs shows what it has at any moment, so ``find`` begins when its listing has ended; in rclone's
    mount whoever lists a directory waits for it.
    """
    contender.forget()
    field.course.begin_counting()
    began = time.monotonic()
    contender.start()
    contender.wait_until_listed()
    entries = _count(contender.mount_point)
    seconds = time.monotonic() - began
    traffic = field.course.traffic()
    contender.stop()
    return {
        "seconds": seconds,
        "calls": traffic["total"],
        "megabytes": traffic["bytes_out"] / 1e6,
        "entries": entries,
    }


def first_photo(contender: Contender, field: Field, turn: int) -> Sample:
    """Mount an empty state, and read whatever photo can be seen first where the whole library is."""
    contender.forget()
    began = time.monotonic()
    contender.start()
    _first_photo_below(lambda: contender.whole_library).read_bytes()
    seconds = time.monotonic() - began
    contender.stop()
    return {"seconds": seconds}


def first_photo_anywhere(contender: Contender, field: Field, turn: int) -> Sample:
    """The same, but any photo of any album will do: that of the smallest, for rclone."""
    contender.forget()
    began = time.monotonic()
    contender.start()
    _first_photo_below(lambda: contender.mount_point).read_bytes()
    seconds = time.monotonic() - began
    contender.stop()
    return {"seconds": seconds}


def remount(contender: Contender, field: Field, turn: int) -> Sample:
    """Everything is known, but the kernel has forgotten it, and the process is new."""
    drop_kernel_caches(pages=False)
    field.course.begin_counting()
    began = time.monotonic()
    contender.start()
    entries = _count(contender.mount_point)
    seconds = time.monotonic() - began
    calls = field.course.traffic()["total"]
    contender.stop()
    return {"seconds": seconds, "calls": calls, "entries": entries}


# -- names and attributes --------------------------------------------------------------------------


def find_everything(contender: Contender, field: Field, turn: int) -> Sample:
    """``find -printf`` of all names and attributes, twice."""
    drop_kernel_caches(pages=False)
    cold = find(contender.mount_point)
    return {"cold": cold, "warm": find(contender.mount_point)}


def find_elsewhere(field: Field, turn: int) -> dict[str, Sample]:
    """What the kernel alone needs: the same names and sizes, as empty files of the local disk. And the least
    that pyfuse3 can do over the same database."""
    tree = _image(field.icloudfs.mount_point, field.home / "image")
    drop_kernel_caches(pages=False)
    on_the_disk = {"cold": find(tree), "warm": find(tree)}
    with bare_mounted("bare_sqlite", field.icloudfs.database, field.home) as place:
        return {YARDSTICK: on_the_disk, FLOOR: {"cold": find(place), "warm": find(place)}}


def ls_largest(contender: Contender, field: Field, turn: int) -> Sample:
    """``ls -l`` of the largest directory that both have: half of the library, in one album."""
    largest = contender.album("Everything")
    drop_kernel_caches(pages=False)
    return {"cold": _ls(largest), "warm": _ls(largest)}


# -- contents, cold --------------------------------------------------------------------------------


def cold_photo(contender: Contender, field: Field, turn: int) -> Sample:
    """A photo of 4 MB that nobody has: from open to its first byte, and to its last.

    As a viewer reads it: a look at what it is, and then all of it.
    """
    return _read(contender.album(racecourse.ALBUM) / racecourse.photo(turn))


def leaf_through(contender: Contender, field: Field, turn: int) -> Sample:
    """Five photos of 4 MB that nobody has, one after the other, each looked at for a second."""
    folder, waited = contender.album(racecourse.leaves(turn)), 0.0
    for path in sorted(folder.iterdir()):
        waited += _read(path)["last byte"]
        time.sleep(_A_LOOK)
    return {"seconds": waited}


def cold_copy(contender: Contender, field: Field, turn: int) -> Sample:
    """Another one, as ``cp`` and ``cat`` read it: in large pieces from the first on."""
    path = contender.album(racecourse.ALBUM) / racecourse.copied_photo(turn)
    return {"seconds": _read_to_the_end(path)}


def cold_video(contender: Contender, field: Field, turn: int) -> Sample:
    """The same with a video of 400 MB."""
    return _read(contender.album(racecourse.ALBUM) / racecourse.video(turn))


def end_of_video(contender: Contender, field: Field, turn: int) -> Sample:
    """Open a video of 400 MB that nobody has, and read the end of it, as a player that wants its index."""
    path = contender.album(racecourse.ALBUM) / racecourse.tail(turn)
    began = time.monotonic()
    with path.open("rb", buffering=0) as file:
        file.seek(-_END, os.SEEK_END)
        got = 0
        while piece := file.read(_END):
            got += len(piece)
    seconds = time.monotonic() - began
    assert got == _END
    return {"seconds": seconds}


def bare_read(filename: Callable[[int], str], *options: str) -> Yardstick:
    """The same of a photo or video; both bytes that a viewer waits for."""

    def transfer(field: Field, turn: int) -> dict[str, Sample]:
        told = _bare_transfer(field, filename(turn), "--keep", str(field.home / "kept"), *options)
        return {
            YARDSTICK: {"first byte": told["first_s"], "last byte": told["last_s"]},
            FLOOR: {"first byte": told["floor_first_s"], "last byte": told["floor_last_s"]},
        }

    return transfer


def bare_copy(field: Field, turn: int) -> dict[str, Sample]:
    name = racecourse.copied_photo(turn)
    told = _bare_transfer(field, name, "--keep", str(field.home / "kept"))
    return {YARDSTICK: {"seconds": told["last_s"]}, FLOOR: {"seconds": told["floor_last_s"]}}


def bare_end(field: Field, turn: int) -> dict[str, Sample]:
    told = _bare_transfer(field, racecourse.tail(turn), "--last", str(_END))
    return {YARDSTICK: {"seconds": told["last_s"]}}


# -- contents, cached ------------------------------------------------------------------------------


def bring_long_video(contender: Contender, field: Field) -> None:
    _read_to_the_end(contender.album(racecourse.ALBUM) / racecourse.LONG)


def long_video(contender: Contender, field: Field, turn: int) -> Sample:
    """Read 1 GB that is in the contender's cache: first from the disk, then from the page cache."""
    path = contender.album(racecourse.ALBUM) / racecourse.LONG
    drop_kernel_caches(pages=True)
    cold = _read_to_the_end(path)
    spent = processor_time(contender.daemon)
    warm = _read_to_the_end(path)
    # What the daemon spends on a warm read: if that is nothing, the kernel answers alone.
    return {"cold": cold, "warm": warm, "daemon, warm": processor_time(contender.daemon) - spent}


def long_file_elsewhere(field: Field, turn: int) -> dict[str, Sample]:
    """The same file as a plain one of the same disk; and as the least that pyfuse3 can do with that one."""
    copy = field.home / racecourse.LONG
    if not copy.exists():
        shutil.copyfile(field.icloudfs.album(racecourse.ALBUM) / racecourse.LONG, copy)
    with bare_mounted("bare_file", copy, field.home) as place:
        places = {YARDSTICK: copy, FLOOR: place / racecourse.LONG}
        return {who: _cold_and_warm(path) for who, path in places.items()}


def _cold_and_warm(path: Path) -> Sample:
    drop_kernel_caches(pages=True)
    return {"cold": _read_to_the_end(path), "warm": _read_to_the_end(path)}


def bring_small_files(contender: Contender, field: Field) -> None:
    for path in _small_files(contender):
        path.read_bytes()


def small_files(contender: Contender, field: Field, turn: int) -> Sample:
    """Open, read and close a thousand cached photos of 35 kB, one by one."""
    paths = _small_files(contender)
    drop_kernel_caches(pages=True)
    return {"cold": _read_all(paths), "warm": _read_all(paths)}


# -- what is asked of iCloud -----------------------------------------------------------------------


def quiet_polls(contender: Contender, field: Field, turn: int) -> Sample:
    """Nothing changes, and the mount looks for changes again and again. Calls and bytes of one look."""
    contender.start(poll=_A_POLL)
    contender.wait_until_listed()
    _count(contender.mount_point)
    time.sleep(2 * _A_POLL)
    field.course.begin_counting()
    time.sleep(_POLLS * _A_POLL)
    traffic = field.course.traffic()
    contender.stop()
    # A poll more or less may fall into that time. Each asks no endpoint twice, so they can be counted.
    polls = max(traffic["endpoints"].values())
    return {"calls": traffic["total"] / polls, "bytes": traffic["bytes_out"] / polls}


def five_albums(contender: Contender, field: Field, turn: int) -> Sample:
    """One photo that lies in five albums, read in each."""
    field.course.begin_counting()
    contents = {
        (contender.album(title) / racecourse.SHARED).read_bytes()
        for title in racecourse.FIVE_ALBUMS
    }
    assert len(contents) == 1
    traffic = field.course.traffic()
    megabytes = sum(traffic["content_bytes"].values()) / 1e6
    return {"downloads": sum(traffic["content_gets"].values()), "megabytes": megabytes}


def memory(contender: Contender, field: Field, turn: int) -> Sample:
    """The daemon's peak, from an empty state on: the listing, everything found twice, some photos read."""
    contender.forget()
    contender.start()
    contender.wait_until_listed()
    find(contender.mount_point)
    find_everything(contender, field, turn)
    _ls(contender.album("Everything"))
    for path in _small_files(contender, 100):
        path.read_bytes()
    peak = memory_of(contender.daemon).peak
    contender.stop()
    return {"peak MB": peak}


WORKS = (
    Work(
        "listing",
        "empty state to a complete listing, by command",
        listing_by_command,
        {"seconds": at_most(1 / 2)},
        far=True,
        mounted=False,
    ),
    Work(
        "listing-mounted",
        "empty state to a complete listing, mount and find",
        listing_by_mount,
        {"seconds": at_most(1 / 2)},
        far=True,
        mounted=False,
    ),
    Work(
        "first-photo",
        "empty state to the first photo of the library",
        first_photo,
        {"seconds": at_most(1 / 10)},
        far=True,
        mounted=False,
    ),
    Work(
        "first-photo-anywhere",
        "empty state to any photo of any album",
        first_photo_anywhere,
        {},
        far=True,
        mounted=False,
    ),
    Work(
        "remount",
        "remount with a full state to a complete find",
        remount,
        {"seconds": at_most(1 / 3)},
        far=True,
        mounted=False,
        prepare=lambda contender, field: contender.list_everything(),
    ),
    Work(
        "find",
        "find -printf over everything",
        find_everything,
        {"cold": ahead, "warm": ahead_or_as_fast(1 / 5, slack=1.1)},
        yardstick=find_elsewhere,
    ),
    Work(
        "ls",
        "ls -l of the largest directory",
        ls_largest,
        {"cold": ahead, "warm": ahead},
    ),
    Work(
        "photo",
        "cold open of a 4 MB photo",
        cold_photo,
        {"first byte": within(1.2), "last byte": within(1.2)},
        far=True,
        cold=True,
        transfers=True,
        yardstick=bare_read(racecourse.photo),
    ),
    Work(
        "leafing",
        "waits for five 4 MB photos, one by one",
        leaf_through,
        {"seconds": ahead},
        far=True,
        transfers=True,
    ),
    Work(
        "photo-copied",
        "cold copy of a 4 MB photo",
        cold_copy,
        {"seconds": within(1.2)},
        far=True,
        cold=True,
        transfers=True,
        yardstick=bare_copy,
    ),
    Work(
        "video",
        "cold open of a 400 MB video",
        cold_video,
        {"first byte": within(1.2), "last byte": within(1.2)},
        far=True,
        cold=True,
        transfers=True,
        # Of a photo the check takes less time than it takes to start the programs that do it.
        yardstick=bare_read(racecourse.video, "--check"),
    ),
    Work(
        "video-end",
        "cold seek to the end of a 400 MB video",
        end_of_video,
        {"seconds": within(1.2)},
        far=True,
        cold=True,
        transfers=True,
        yardstick=bare_end,
    ),
    Work(
        "long-video",
        "cached sequential read of 1 GB",
        long_video,
        {"cold": ahead, "warm": within(1 / 0.95), "daemon, warm": nearly_nothing},
        prepare=bring_long_video,
        yardstick=long_file_elsewhere,
    ),
    Work(
        "small-files",
        "1,000 cached small files, open-read-close each",
        small_files,
        {"cold": ahead, "warm": ahead},
        prepare=bring_small_files,
    ),
    Work(
        "poll",
        "no-change poll",
        quiet_polls,
        {"calls": between(1, 2)},
        mounted=False,
        once=True,
    ),
    Work(
        "five-albums",
        "a photo in five albums, read in each",
        five_albums,
        {"downloads": exactly(1)},
        once=True,
    ),
)

MEMORY = Work(
    "memory",
    "peak memory of the daemon",
    memory,
    {"peak MB": ahead},
    mounted=False,
    once=True,
)
"""In races of its own: libraries of two sizes."""


# -- how it is done --------------------------------------------------------------------------------


def _first_photo_below(top: Callable[[], Path]) -> Path:
    def photo() -> Path | None:
        photos = (p for p in seen_below(top()) if p.suffix in (".HEIC", ".JPG", ".PNG"))
        return next(photos, None)

    return wait_for(photo, "a photo", 0.005, _LONGEST)


def _count(top: Path) -> int:
    """How many entries ``find`` finds, with their attributes."""
    printed = subprocess.run(
        ["find", str(top), "-printf", "%s %T@ %n\\n"], capture_output=True, check=True
    )
    return printed.stdout.count(b"\n")


def _image(of: Path, to: Path) -> Path:
    """The same tree with files of the same size and no content; made once."""
    if not to.exists():
        for folder, _, names in os.walk(of):
            there = to / Path(folder).relative_to(of)
            there.mkdir(parents=True)
            for name in names:
                with (there / name).open("wb") as file:
                    file.truncate(Path(folder, name).lstat().st_size)
    return to


def _ls(folder: Path) -> float:
    began = time.monotonic()
    subprocess.run(["ls", "-l", str(folder)], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def _read(path: Path) -> Sample:
    began = time.monotonic()
    with path.open("rb", buffering=0) as file:
        assert file.read(1)
        first = time.monotonic() - began
        while file.read(_PIECE):
            pass
    return {"first byte": first, "last byte": time.monotonic() - began}


def _read_to_the_end(path: Path) -> float:
    # Into one piece of memory again and again: new memory would cost more than the page cache does.
    buffer = bytearray(_PIECE)
    began = time.monotonic()
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.monotonic() - began


def _small_files(contender: Contender, most: int = _SMALL_FILES) -> list[Path]:
    # Sorted, so that all contenders read the same; the ordinary names, as rclone alters others.
    stills = contender.album("Everything").glob("IMG_*HEIC")
    return sorted(stills)[:most]


def _read_all(paths: list[Path]) -> float:
    began = time.monotonic()
    for path in paths:
        with path.open("rb", buffering=0) as file:
            file.read()
    return time.monotonic() - began


def _bare_transfer(field: Field, filename: str, *options: str) -> Sample:
    master = field.course.master_of(filename)
    told = subprocess.run(
        [sys.executable, "-m", "tests.bench.bare_transfer", master, *options],
        env=field.icloudfs.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return cast("Sample", json.loads(told))
