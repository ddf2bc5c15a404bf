"""File handles outlive the mount: what a re-export by NFS or Samba goes by.

A server keeps a handle for as long as its clients like, and comes back with it to a daemon that has never been
asked for the file: by number, ``.`` and ``..``, without a path.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.whole.library import Library
from tests.whole.local_icloud import LocalICloud

_LONGEST = 128
"""``MAX_HANDLE_SZ``, bytes."""

_libc = ctypes.CDLL(None, use_errno=True)


class Handle(ctypes.Structure):
    """``struct file_handle``."""

    _fields_ = (
        ("size", ctypes.c_uint),
        ("type", ctypes.c_int),
        ("bytes", ctypes.c_ubyte * _LONGEST),
    )


def handle_of(path: Path) -> Handle:
    handle, mount = Handle(size=_LONGEST), ctypes.c_int()
    done = _libc.name_to_handle_at(
        *(-100, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), 0)
    )
    _check(done)
    return handle


@contextmanager
def opened(library: Library, handle: Handle) -> Iterator[int]:
    """A descriptor of what the handle stands for in the mount as it is now."""
    mount = os.open(library.mount_point, os.O_RDONLY | os.O_DIRECTORY)
    try:
        descriptor = _check(_libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_RDONLY))
    finally:
        os.close(mount)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def as_bytes(handle: Handle) -> bytes:
    return bytes(handle.bytes[: handle.size])


def place_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}")


def names_in(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def some_files(library: Library) -> list[Path]:
    """In a month, in an album, a special one."""
    month, album = (next(library.files(below)) for below in ("Library", "Albums"))
    return [month, album, library.mount_point / ".hidden"]


def some_directories(library: Library) -> list[Path]:
    """From the root down to an album within a folder."""
    album = next(library.files("Albums/Holidays")).parent
    return [library.mount_point, library.mount_point / "Library", album.parent, album]


@pytest.mark.parametrize("again", ["remounted", "listed anew"])
def test_handles_open_the_same_after_a_remount(
    library: Library, signed_in: Library, icloud: LocalICloud, again: str
) -> None:
    library.mount()
    files, directories = some_files(library), some_directories(library)
    handles = {path: handle_of(path) for path in files + directories}
    numbers = {path: path.stat().st_ino for path in handles}
    contents = {path: library.truth(path) for path in files[:2]}
    listings = {path: names_in(path) for path in directories}

    library.unmount()
    if again == "listed anew":
        library.scratch.run("rm", "-r", library.state)
        library.take_state_of(signed_in)
        library.sync()
    library.mount()

    # Before anybody walks there, so that the daemon has never been asked for them.
    for path, content in contents.items():
        with opened(library, handles[path]) as descriptor:
            assert os.fstat(descriptor).st_ino == numbers[path]
            assert os.pread(descriptor, len(content) + 1, 0) == content
    for path, names in listings.items():
        with opened(library, handles[path]) as descriptor:
            assert os.fstat(descriptor).st_ino == numbers[path]
            assert names_in(place_of(descriptor)) == names
            assert place_of(descriptor).readlink() == path
    assert {as_bytes(handle_of(path)) for path in handles} == {*map(as_bytes, handles.values())}
    assert icloud.calls(kind="content")  # nothing was cached: by handle, too, a file is fetched


def test_a_handle_of_what_is_nowhere_is_stale(library: Library) -> None:
    library.mount()
    handle = handle_of(next(library.files("Library")))
    handle.bytes[0] ^= (
        1  # the lowest bits of the upper half of a number, by which no photo is known
    )

    with pytest.raises(OSError) as caught, opened(library, handle):
        pass

    assert caught.value.errno == errno.ESTALE


def test_dot_and_dot_dot_lead_where_they_should(library: Library) -> None:
    library.mount()
    album = next(library.files("Albums/Holidays")).parent
    handle = handle_of(album)
    library.unmount()
    library.mount()

    with opened(library, handle) as descriptor:
        above = os.open("..", os.O_RDONLY, dir_fd=descriptor)
        try:
            assert os.fstat(above).st_ino == album.parent.stat().st_ino
            assert place_of(above).readlink() == album.parent
        finally:
            os.close(above)
