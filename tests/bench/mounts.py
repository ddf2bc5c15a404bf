"""Mounts to be measured: icloudfs, and the yardstick beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from tests.bench.stand import PATIENCE, Stand, wait_for


@contextmanager
def mounted(stand: Stand, *options: str) -> Iterator[tuple[Path, float]]:
    """(mount point, when the command was given)."""
    place = stand.home / "mount"
    place.mkdir(exist_ok=True)
    log = ("--log-file", str(stand.home / "daemon.log"))
    began = time.monotonic()
    stand.icloudfs("mount", str(place), *log, *options)
    try:
        yield place, began
    finally:
        stand.icloudfs("unmount", "--lazy", str(place))


@contextmanager
def bare_mounted(server: str, of: Path, home: Path) -> Iterator[Path]:
    """The least that pyfuse3 can do with a database (``bare_sqlite``) or a file (``bare_file``)."""
    place = home / "bare"
    place.mkdir(exist_ok=True)
    process = subprocess.Popen([sys.executable, "-m", f"tests.bench.{server}", of, place])
    wait_for(lambda: place if place.is_mount() else None, "the yardstick's mount")
    try:
        yield place
    finally:
        subprocess.run(["fusermount3", "-u", str(place)], check=True)
        process.wait(PATIENCE)


def seen_below(folder: Path) -> Iterator[Path]:
    """The files below a folder, which may not be complete yet: its listings end with EAGAIN then."""
    with suppress(BlockingIOError, FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from seen_below(Path(entry.path))
            else:
                yield Path(entry.path)


def find(place: Path) -> float:
    """Seconds that ``find`` takes to print the attributes of everything."""
    began = time.monotonic()
    command = ["find", str(place), "-printf", _ATTRIBUTES]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def find_some(place: Path, entries: int) -> int:
    """Let ``find`` print the attributes of that many entries; how many there were."""
    command = ["find", str(place), "-printf", _ATTRIBUTES]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        found = sum(1 for _ in islice(process.stdout, entries))
        process.terminate()
    return found


_ATTRIBUTES = "%s %T@ %n %p\\n"
