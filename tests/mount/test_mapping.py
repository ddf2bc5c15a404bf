"""Photos mapped into memory, also where the kernel's control filesystem is not there: in containers."""

from __future__ import annotations

import errno
import mmap
import subprocess
import sys
import time
from pathlib import Path

import pytest

from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import Library, bytes_of
from tests.mount.mounted import Mount, wait_until

SIZE = 300_000


@pytest.fixture
def photos(library: Library) -> Library:
    for name in ("slow", "cached", "film", "fail:Offline"):
        library.file(ROOT_INO, name, SIZE, checksum=name)
    library.close()
    return library


def mapped(path: Path) -> bytes:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        return memory[:]


@pytest.mark.parametrize("limit", [True, False], ids=["limit raised", "no control filesystem"])
def test_photos_can_be_mapped(photos: Library, place: Path, limit: bool) -> None:
    with Mount(photos.path, place / "mnt", background_limit=limit) as mount:
        assert mount.tell("direct") is not limit
        mount.tell("open_gate")
        for name in ("slow", "cached"):
            assert mapped(mount.path / name) == bytes_of(name, SIZE)
        assert (mount.path / "film").read_bytes() == bytes_of("film", SIZE)


def test_opening_waits_until_the_photo_is_here(photos: Library, place: Path) -> None:
    with Mount(photos.path, place / "mnt", background_limit=False) as mount:
        program = "import sys; open(sys.argv[1]); print('opened')"
        opening = [sys.executable, "-I", "-S", "-c", program, str(mount.path / "slow")]
        with subprocess.Popen(opening, stdout=subprocess.PIPE, text=True) as opener:
            wait_until(lambda: mount.tell("waiting") == 1)
            assert opener.poll() is None
            mount.tell("open_gate")
            assert opener.communicate(timeout=10)[0] == "opened\n"


def test_what_does_not_come_in_time_opens_all_the_same(photos: Library, place: Path) -> None:
    """And is read directly, as it comes; or says why not."""
    with Mount(photos.path, place / "mnt", background_limit=False, fetched_at_open=0.2) as mount:
        with (mount.path / "slow").open("rb", buffering=0) as photo:
            mount.tell("open_gate")
            assert photo.read(1000) == bytes_of("slow", SIZE)[:1000]
        began = time.monotonic()
        offline = (mount.path / "fail:Offline").open("rb", buffering=0)
        with offline as photo, pytest.raises(OSError) as refused:
            photo.read(1000)
        assert refused.value.errno == errno.ENETUNREACH
        assert time.monotonic() - began < 5
