"""Sixty reads wait for the network; what is cached, and every look, is answered at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import Library, bytes_of
from tests.mount.mounted import OWNER, ROOT, Mount, User, names, wait_until

READERS = 60
AT_ONCE = 0.5
"""Seconds; without the cure it lasts until the slow reads end (facts/fuse.md §0.2: 74 s)."""

CLIENT = """
import sys, threading
def read(path):
    with open(path, "rb") as file:
        print(len(file.read()), flush=True)
for path in sys.argv[1:]:
    threading.Thread(target=read, args=(path,)).start()
"""


@pytest.fixture
def slow(library: Library) -> Iterator[Library]:
    month = library.directory(ROOT_INO, "month")
    for number in range(READERS):
        library.file(month, f"slow{number}", 1 << 20, checksum=f"slow{number}")
    library.file(month, "film", 1 << 20, checksum="film")
    library.file(month, "cached", 1 << 20, checksum="cached")
    library.file(month, "other", 1 << 20, checksum="other")
    library.close()
    yield library


def seconds(call: Callable[[], object]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


@pytest.mark.parametrize("user", [ROOT, OWNER], ids=lambda user: user.name)
@pytest.mark.parametrize("limit", [True, False], ids=["limit raised", "direct reads"])
def test_nothing_queues_behind_slow_reads(
    slow: Library, place: Path, user: User, limit: bool
) -> None:
    with Mount(slow.path, place / "mnt", user=user, background_limit=limit) as mount:
        assert mount.tell("direct") is not limit
        month = mount.path / "month"
        command = [sys.executable, "-I", "-S", "-c", CLIENT]
        if user is not ROOT:
            command[0] = "/usr/bin/python3"
        paths = [str(month / f"slow{number}") for number in range(READERS)]
        with user.popen(command + paths, stdout=subprocess.PIPE) as client:
            wait_until(lambda: mount.tell("waiting") >= READERS)
            done = user.python(MEASURE, str(month))
            assert float(done) < AT_ONCE
            if user is ROOT:
                assert seconds((month / "other").read_bytes) < AT_ONCE
            mount.tell("open_gate")
            output, _ = client.communicate(timeout=20)
        assert output.split() == [str(1 << 20)] * READERS
        assert mount.stop() == 0


MEASURE = """
import os, sys, time
start = time.monotonic()
month = sys.argv[1]
for name in os.listdir(month):
    os.stat(f"{month}/{name}")
for name in ("nothing", "at all"):
    os.path.exists(f"{month}/{name}")
assert len(open(f"{month}/cached", "rb").read()) == 1 << 20
os.statvfs(month)
print(time.monotonic() - start)
"""


def test_files_read_directly_are_right(slow: Library, place: Path) -> None:
    """Until a file is whole it bypasses the page cache; its bytes are the same."""
    with Mount(slow.path, place / "mnt", background_limit=False) as mount:
        mount.tell("open_gate")
        assert (mount.path / "month/slow7").read_bytes() == bytes_of("slow7", 1 << 20)
        assert (mount.path / "month/film").read_bytes() == bytes_of("film", 1 << 20)
        with (mount.path / "month/film").open("rb") as file:
            assert os.pread(file.fileno(), 100, 5000) == bytes_of("film", 1 << 20)[5000:5100]
        assert (mount.path / "month/cached").read_bytes() == bytes_of("cached", 1 << 20)
        assert len(names(mount.path / "month")) == READERS + 3
