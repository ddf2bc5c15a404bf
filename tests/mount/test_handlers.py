"""A handler that fails: the errno its cause deserves, a line in the log, and the mount goes on."""

from __future__ import annotations

import errno
import inspect
import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyfuse3
import pytest
import trio

from icloudfs import errors
from icloudfs.mount.guard import guarded
from icloudfs.mount.operations import Operations
from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.daemon import HANDLERS
from tests.mount.library import Library
from tests.mount.mounted import Mount, names

CAUSES = {
    "ContentMismatch": errno.EIO,
    "ContentUnavailable": errno.EIO,
    "ContentError": errno.EIO,
    "DiskFull": errno.ENOSPC,
    "Offline": errno.ENETUNREACH,
    "Throttled": errno.EBUSY,
    "LoginNeeded": errno.ENOKEY,
    "ProtocolError": errno.EIO,
    "unforeseen": errno.EIO,
}


async def errno_of(error: BaseException) -> int:
    @guarded
    async def handler(self: object) -> None:
        raise error

    with pytest.raises(pyfuse3.FUSEError) as caught:
        await handler(None)
    return caught.value.errno


@pytest.mark.parametrize(("name", "code"), CAUSES.items())
async def test_each_cause_has_its_errno(name: str, code: int) -> None:
    cause = getattr(errors, name, ZeroDivisionError)("why")
    assert await errno_of(cause) == code
    assert await errno_of(ExceptionGroup("of a nursery", [cause])) == code


async def test_a_traceback_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    @guarded
    def boom(self: object) -> None:
        raise LookupError("a bug")

    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            with pytest.raises(pyfuse3.FUSEError):
                await boom(None)
    assert [record.exc_info is not None for record in caplog.records] == [True, False, False]


async def test_cancellation_passes() -> None:
    @guarded
    async def slow(self: object) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(0.01) as scope:
        await slow(None)
    assert scope.cancelled_caught


def test_every_handler_is_guarded() -> None:
    unguarded = {name for name in HANDLERS if not hasattr(getattr(Operations, name), "__wrapped__")}
    assert unguarded == {"forget"}  # does nothing at all
    assert all(inspect.iscoroutinefunction(getattr(Operations, name)) for name in HANDLERS)


def poke(path: Path) -> dict[str, Callable[[], object]]:
    """A system call for each handler."""
    photo, folder = path / "photo", path / "folder"
    return {
        "lookup": lambda: (path / "never asked for").stat(),
        "getattr": lambda: photo.stat(),
        "opendir": lambda: names(folder),
        "readdir": lambda: names(folder),
        "open": lambda: photo.read_bytes(),
        "read": lambda: photo.read_bytes(),
        "statfs": lambda: os.statvfs(path),
        "access": lambda: _access(photo),
        "getxattr": lambda: os.getxattr(photo, "user.icloudfs.asset"),
        "listxattr": lambda: os.listxattr(photo),
        "setattr": lambda: photo.chmod(0o600),
        "mknod": lambda: os.mkfifo(path / "new"),
        "mkdir": lambda: (path / "new").mkdir(),
        "symlink": lambda: (path / "new").symlink_to("photo"),
        "link": lambda: (path / "new").hardlink_to(photo),
        "create": lambda: (path / "new").write_bytes(b""),
        "rename": lambda: photo.rename(path / "new"),
        "unlink": lambda: photo.unlink(),
        "rmdir": lambda: folder.rmdir(),
        "setxattr": lambda: os.setxattr(photo, "user.mine", b""),
        "removexattr": lambda: os.removexattr(photo, "user.mine"),
        "fsync": lambda: _fsync(photo),
        "fsyncdir": lambda: _fsync(folder),
    }


UNSEEN = {"forget", "release", "releasedir", "flush", "write"}
"""Nobody sees their errors; no file can be open for writing."""


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _access(path: Path) -> None:
    """os.access hides the errno."""
    os.chdir(path.parent)


def test_an_error_in_any_handler_never_unmounts(library: Library, place: Path) -> None:
    library.file(ROOT_INO, "photo")
    library.directory(ROOT_INO, "folder")
    library.close()
    here = Path.cwd()
    with Mount(library.path, place / "mnt") as mount:
        # Shown as read-only, the kernel would refuse to write by itself.
        subprocess.run(["mount", "-o", "remount,bind,rw", mount.path], check=True)
        calls = poke(mount.path)
        assert set(calls) | UNSEEN == set(HANDLERS)
        try:
            for handler, call in calls.items():
                (mount.path / "photo").stat(), (mount.path / "folder").stat()
                # Forget what was read and looked at: warm, the kernel would answer by itself.
                mount.tell("forget", ino=_ino(mount, "photo"))
                mount.tell("break", handlers=[handler])
                with pytest.raises(OSError) as caught:
                    call()
                mount.tell("break", handlers=[])
                assert caught.value.errno == errno.EIO, handler
                assert f"{handler} failed" in mount.log.read_text()
            mount.tell("break", handlers=list(UNSEEN))
            (mount.path / "photo").read_bytes()
            names(mount.path)
            mount.tell("break", handlers=[])
        finally:
            os.chdir(here)
        assert len((mount.path / "photo").read_bytes()) == 1000
        assert mount.log.read_text().count("Traceback") >= len(calls)
        assert mount.stop() == 0


def _ino(mount: Mount, name: str) -> int:
    return (mount.path / name).stat().st_ino


def test_reads_that_fail_say_why(library: Library, place: Path) -> None:
    for cause in CAUSES:
        library.file(ROOT_INO, cause, checksum=f"fail:{cause}")
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        for cause, code in CAUSES.items():
            with pytest.raises(OSError) as caught:
                (mount.path / cause).read_bytes()
            assert caught.value.errno == code, cause
        assert mount.stop() == 0
