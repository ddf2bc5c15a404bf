"""Directory pages while the tree changes under the reader."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import FIRST_INO, Library
from tests.mount.mounted import OTHER, Mount, names

libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = ctypes.c_void_p
libc.readdir64.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
for _function in (libc.readdir64, libc.telldir, libc.closedir):
    _function.argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


class Entry(ctypes.Structure):
    """struct dirent64."""

    _fields_ = [
        ("ino", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("length", ctypes.c_ushort),
        ("type", ctypes.c_ubyte),
        ("name", ctypes.c_char * 256),
    ]


class Stream:
    """opendir, readdir, telldir, seekdir, closedir: os.scandir has no cursor."""

    def __init__(self, path: Path) -> None:
        self._stream = libc.opendir(os.fsencode(path))
        assert self._stream

    def __iter__(self) -> Iterator[str]:
        while (address := libc.readdir64(self._stream)) is not None:
            name = Entry.from_address(address).name.decode()
            if name not in (".", ".."):
                yield name

    def tell(self) -> int:
        return int(libc.telldir(self._stream))

    def seek(self, place: int) -> None:
        libc.seekdir(self._stream, place)

    def close(self) -> None:
        libc.closedir(self._stream)


COUNT = 2000
REMOVED, KEPT = range(0, COUNT, 3), set(range(COUNT)) - set(range(0, COUNT, 3))


def name(number: int) -> str:
    return f"IMG_{number:06d}.HEIC"


def test_nothing_twice_and_nothing_lost_while_entries_come_and_go(
    library: Library, place: Path
) -> None:
    library.many(ROOT_INO, COUNT)
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        stream = Stream(mount.path)
        entries = iter(stream)
        seen = [next(entries) for _ in range(300)]
        gone = [FIRST_INO + number for number in REMOVED]
        mount.tell(
            "change",
            sql=[
                f"DELETE FROM dirent WHERE ino IN ({','.join(map(str, gone))})",
                f"DELETE FROM inode WHERE ino IN ({','.join(map(str, gone))})",
                "INSERT INTO inode SELECT ino + 1000000, mode, size, mtime, ctime, 1, NULL, NULL, NULL"
                " FROM inode WHERE ino % 2 AND ino > 1000",
                "INSERT INTO dirent SELECT 1, CAST('new ' || ino AS BLOB), ino FROM inode"
                " WHERE ino >= 4295967296",
            ],
            changes=[["removed", 1, name(number), FIRST_INO + number] for number in REMOVED],
        )
        seen += entries
        stream.close()
        assert len(seen) == len(set(seen))
        assert {name(number) for number in KEPT} <= set(seen)
        assert set(names(mount.path)) >= {name(number) for number in KEPT}
        assert name(0) not in names(mount.path)


def test_one_can_go_back_to_any_place(library: Library, place: Path) -> None:
    library.many(ROOT_INO, 600)
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        stream = Stream(mount.path)
        places, names = [], []
        for each in stream:
            names.append(each)
            places.append(stream.tell())
        assert len(set(places)) == len(places) == 600

        @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.integers(0, 598))
        def back_to(number: int) -> None:
            stream.seek(places[number])
            assert next(iter(stream)) == names[number + 1]

        back_to()
        stream.close()


def test_a_folder_that_went_is_stale_and_not_empty(library: Library, place: Path) -> None:
    """Also in the middle of a listing, which would else look complete."""
    month = library.directory(ROOT_INO, "2024-05")
    library.many(month, 2000)
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        folder = os.open(mount.path / "2024-05", os.O_RDONLY)
        entries = os.scandir(folder)
        seen = [next(entries) for _ in range(10)]
        mount.tell(
            "change",
            sql=[
                f"DELETE FROM dirent WHERE parent = {month} OR ino = {month}",
                f"DELETE FROM inode WHERE ino <> {ROOT_INO}",
            ],
            changes=[],  # the kernel has yet to hear of it
        )
        with pytest.raises(OSError) as listing:
            seen += entries
        assert listing.value.errno == errno.ESTALE
        assert len(seen) < 2000
        entries.close()
        with pytest.raises(OSError) as looking:
            os.stat("never seen", dir_fd=folder)
        assert looking.value.errno == errno.ESTALE
        os.close(folder)
        mount.tell("change", sql=[], changes=[["removed", ROOT_INO, "2024-05", month]])
        assert not (mount.path / "2024-05").exists()


def test_what_went_before_it_was_here_is_stale_to_who_has_it_open(
    library: Library, place: Path
) -> None:
    """And what is here can be read on."""
    there, here = (
        library.file(ROOT_INO, name, checksum=name) for name in ("fail:ContentError", "ok")
    )
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        lost, kept = (
            os.open(mount.path / name, os.O_RDONLY) for name in ("fail:ContentError", "ok")
        )
        with pytest.raises(OSError) as before:
            os.read(lost, 10)
        mount.tell(
            "change",
            sql=[f"DELETE FROM {table} WHERE ino <> {ROOT_INO}" for table in ("dirent", "inode")],
            changes=[
                ["removed", ROOT_INO, "fail:ContentError", there],
                ["removed", ROOT_INO, "ok", here],
            ],
        )
        with pytest.raises(OSError) as after:
            os.read(lost, 10)
        assert (before.value.errno, after.value.errno) == (errno.EIO, errno.ESTALE)
        assert len(os.read(kept, 10)) == 10
        os.close(lost)
        os.close(kept)


@pytest.mark.parametrize("call", [os.stat, os.open, os.mkdir], ids=lambda c: c.__name__)
def test_a_name_that_is_too_long(library: Library, place: Path, call: Any) -> None:
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        arguments = [os.O_RDONLY] if call is os.open else []
        for name, code in (("ü" * 128, errno.ENAMETOOLONG), ("x" * 255, errno.ENOENT)):
            with pytest.raises(OSError) as caught:
                call(mount.path / name, *arguments)
            expected = errno.EROFS if call is os.mkdir and code == errno.ENOENT else code
            assert caught.value.errno == expected


class FileHandle(ctypes.Structure):
    """struct file_handle."""

    _fields_ = [("size", ctypes.c_uint), ("type", ctypes.c_int), ("bytes", ctypes.c_ubyte * 128)]


def test_a_number_finds_its_file_again(library: Library, place: Path) -> None:
    """An NFS server comes back with handles, when the kernel has long forgotten what they meant."""
    month = library.directory(library.directory(ROOT_INO, "Library"), "2024-05")
    photo = library.file(month, "photo")
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        handles = [handle_of(mount.path / "Library/2024-05" / name) for name in ("", "photo")]
        Path("/proc/sys/vm/drop_caches").write_text("2")
        assert [inode_of(mount.path, handle) for handle in handles] == [month, photo]
        assert mount.asked("lookup") > 0


def handle_of(path: Path) -> FileHandle:
    handle, mount = FileHandle(size=128), ctypes.c_int()
    at = ctypes.byref(handle), ctypes.byref(mount)
    assert libc.name_to_handle_at(-100, os.fsencode(path), *at, 0) == 0, ctypes.get_errno()
    return handle


def inode_of(mount_point: Path, handle: FileHandle) -> int:
    root = os.open(mount_point, os.O_RDONLY)
    found = libc.open_by_handle_at(root, ctypes.byref(handle), os.O_RDONLY)
    assert found >= 0, os.strerror(ctypes.get_errno())
    inode = os.fstat(found).st_ino
    os.close(found)
    os.close(root)
    return inode


def test_the_owners_openings_are_told(library: Library, place: Path) -> None:
    folder = library.directory(ROOT_INO, "folder")
    library.close()
    with Mount(library.path, place / "mnt", allow_other=True) as mount:
        assert OTHER.run("ls", str(mount.path / "folder")).returncode == 0
        assert mount.tell("opened") == []
        names(mount.path / "folder")
        assert mount.tell("opened") == [folder]
