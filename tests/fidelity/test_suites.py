"""Suites that others wrote, on a mount: ``fio`` with verification, ``stress-ng``, and the walks of xfstests.

fio lays its blocks, each with its own checksum and place, into a file; the phone adds that file as a
movie, and fio reads it back through the mount by every way that a program may read.

Left out, as their sources are in no package registry: xfstests itself (its ``t_dir_offset2`` and
``t_readdir_1`` are told again below, in this project's words), LTP's ``read_all`` (what it does with
eight readers is below, too), and pjdfstest (in its place stands a sweep over every call that writes).
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.scratch import Scratch, scratch_folder
from tests.sweep import SWEEP
from tests.whole.library import ALL_VIEWS, Library
from tests.whole.local_icloud import LocalICloud

MIB = 1 << 20
SIZE = 48 * MIB
"""More than is fetched whole at the first read (32 MiB): the movie is streamed."""

READERS = {
    "psync": ("--ioengine=psync", "--numjobs=4"),
    "mmap": ("--ioengine=mmap",),
    "libaio direct": ("--ioengine=libaio", "--direct=1", "--iodepth=16"),
    "io_uring": ("--ioengine=io_uring", "--iodepth=16"),
}

_FIO_FOUND_DAMAGE = 84
"""EILSEQ."""


@pytest.fixture(scope="module")
def movie() -> Iterator[tuple[Library, Path, Path]]:
    """The library, the file that fio laid out, and where the mount shows it. Nothing is cached."""
    for program in ("fio", "stress-ng"):
        assert shutil.which(program), f"{program} is not installed: run scripts/fidelity"
    with scratch_folder() as scratch:
        laid = scratch.folder / "laid-out"
        _fio(scratch, laid, "--rw=write", "--do_verify=0", "--ioengine=psync", "--end_fsync=1")
        icloud = LocalICloud(scratch, assets=40)
        library = Library(icloud, scratch)
        library.login()
        added = icloud.control.phone(
            "add_photo", kind="video", filename="FIO.MOV", file=str(laid), taken=0
        )
        library.sync()
        library.mount(views=ALL_VIEWS)
        yield library, laid, library.files_of(added["asset"], "Library")[0]
        library.unmount()
        icloud.stop()


def _fio(
    scratch: Scratch, file: Path, *options: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    # serialize_overlap and the like stay at their defaults: it is the plainest use there is.
    return scratch.run(
        "fio",
        "--name=blocks",
        f"--filename={file}",
        f"--size={SIZE}",
        "--bs=16k",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--thread",
        "--output-format=terse",
        *options,
        check=check,
        cwd=scratch.folder,
    )


@pytest.mark.parametrize("order", ["read", "randread"])
@pytest.mark.parametrize("reader", READERS)
def test_fio_reads_what_it_wrote(
    movie: tuple[Library, Path, Path], reader: str, order: str
) -> None:
    library, laid, shown = movie
    assert shown.stat().st_size == laid.stat().st_size == SIZE
    library.icloudfs("cache", "evict")
    _fio(library.scratch, shown, "--readonly", f"--rw={order}", *READERS[reader])


def test_fio_would_find_three_wrong_bytes(movie: tuple[Library, Path, Path]) -> None:
    library, laid, _ = movie
    damaged = library.scratch.folder / "damaged"
    content = bytearray(laid.read_bytes())
    content[SIZE // 3 : SIZE // 3 + 3] = b"\xff\x00\xff"
    damaged.write_bytes(content)
    found = _fio(library.scratch, damaged, "--readonly", "--rw=read", check=False)
    assert found.returncode != 0
    assert f"err={_FIO_FOUND_DAMAGE}" in found.stdout + found.stderr or "crc32c" in found.stderr


def test_stress_ng_stats_a_folder(movie: tuple[Library, Path, Path]) -> None:
    library, _, shown = movie
    told = library.scratch.run(
        "stress-ng", "--fstat", "4", "--fstat-dir", shown.parent, "--timeout", "4", "--metrics"
    )
    (done,) = re.findall(r"fstat +(\d+) ", told.stdout + told.stderr)
    assert int(done) > 1000


def test_eight_readers_of_everything(movie: tuple[Library, Path, Path]) -> None:
    library, _, _ = movie
    files = list(library.files())
    with ThreadPoolExecutor(8) as readers:
        contents = [list(readers.map(Path.read_bytes, files)) for _ in range(2)]
    assert contents[0] == contents[1]
    assert len(files) > 60


def test_every_write_is_refused(movie: tuple[Library, Path, Path]) -> None:
    library, _, shown = movie
    top = library.mount_point
    other = next(path for path in library.files("Albums") if path != shown)
    before = sorted(top.rglob("*"))
    places = [str(path.relative_to(top)) for path in (shown, other, shown.parent)]
    done = library.scratch.run(sys.executable, "-c", SWEEP, top, *places)
    assert done.stdout == ""
    assert sorted(top.rglob("*")) == before


# -- the directory walks of xfstests ---------------------------------------------------------------


class _Dirent(ctypes.Structure):
    """``struct dirent`` of glibc on 64 bits."""

    _fields_ = (
        ("ino", ctypes.c_uint64),
        ("off", ctypes.c_int64),
        ("length", ctypes.c_uint16),
        ("type", ctypes.c_uint8),
        ("name", ctypes.c_char * 256),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.opendir.restype = ctypes.c_void_p
_libc.readdir.argtypes = [ctypes.c_void_p]
_libc.readdir.restype = ctypes.POINTER(_Dirent)
_libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
_libc.closedir.argtypes = [ctypes.c_void_p]


class _Directory:
    def __init__(self, path: Path) -> None:
        self._stream = _libc.opendir(os.fsencode(path))
        assert self._stream, os.strerror(ctypes.get_errno())

    def next(self) -> tuple[str, int] | None:
        """(name, where the one behind it is)."""
        found = _libc.readdir(self._stream)
        if not found:
            return None
        return found.contents.name.decode(), found.contents.off

    def rest(self) -> list[tuple[str, int]]:
        return list(iter(self.next, None))

    def seek(self, offset: int) -> None:
        _libc.seekdir(self._stream, offset)

    def close(self) -> None:
        _libc.closedir(self._stream)


@pytest.fixture
def largest(movie: tuple[Library, Path, Path]) -> Iterator[_Directory]:
    library, _, _ = movie
    folders = [Path(folder) for folder, _, _ in os.walk(library.mount_point)]
    directory = _Directory(max(folders, key=lambda folder: len(list(folder.iterdir()))))
    yield directory
    directory.close()


def test_every_offset_is_unique_and_leads_on(largest: _Directory) -> None:
    """What ``t_dir_offset2`` asks."""
    entries = largest.rest()
    assert len(entries) > 20
    assert len({offset for _, offset in entries}) == len({name for name, _ in entries})
    for at, (_, offset) in reversed(list(enumerate(entries))):
        largest.seek(offset)
        following = largest.next()
        assert following == (entries[at + 1] if at + 1 < len(entries) else None)


def test_no_name_comes_twice(largest: _Directory) -> None:
    """What ``t_readdir_1`` asks, with a seek to the beginning between."""
    first = largest.rest()
    for _ in range(20):
        largest.seek(0)
        names = [name for name, _ in largest.rest()]
        assert len(names) == len(set(names))
        assert names == [name for name, _ in first]
