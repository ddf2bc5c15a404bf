"""The disk of state or cache fails under a mount: it lives, says so, and is well again with the disk."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from icloudfs.errors import ContentError, StateDamaged
from tests.scratch import wait_until
from tests.whole.failing_disk import FailingDisk
from tests.whole.library import INTERVAL, Library

ROOM = 12 << 20
"""Bytes of the disk of the state."""


def reads(library: Library, path: Path) -> int:
    """Read a file to its end: 0 if it is what iCloud has, or the number of the error."""
    try:
        assert path.read_bytes() == library.truth(path)
    except OSError as error:
        return error.errno or -1
    return 0


def photos(library: Library) -> Iterator[Path]:
    """One after the other that nobody has read yet."""
    wanted = (path for path in library.files("Library") if path.suffix in (".JPG", ".HEIC"))
    return iter(list(wanted))


def sync(library: Library) -> subprocess.CompletedProcess[str]:
    return library.icloudfs("sync", "--mirror", "demand", check=False)


@pytest.fixture
def full(library: Library) -> Iterator[Callable[[bool], None]]:
    """The state on a small disk of its own, which can be full or not."""
    kept = {path.name: path.read_bytes() for path in library.state.iterdir() if path.is_file()}
    library.scratch.run(
        "mount", "-t", "tmpfs", "-o", f"size={ROOM},mode=0700", "none", library.state
    )
    for name, content in kept.items():
        (library.state / name).write_bytes(content)
    filling = library.state / "filling"

    def fill(is_full: bool) -> None:
        if not is_full:
            filling.unlink()
            return
        with filling.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC

    yield fill
    library.end()
    library.scratch.run("umount", library.state)


def test_the_disk_of_the_state_is_full(library: Library, full: Callable[[bool], None]) -> None:
    library.mount("--interval", str(INTERVAL))
    daemon, coming = library.daemon, photos(library)
    assert reads(library, next(coming)) == 0
    full(True)
    for _ in range(5):
        assert reads(library, next(coming)) in (0, errno.ENOSPC)
    failed = sync(library)
    assert failed.returncode == ContentError.exit_code and "is full" in failed.stderr
    told = library.icloudfs("status").stdout
    assert "Database    The disk with the state database" in told
    full(False)
    wait_until(lambda: sync(library).returncode == 0, 30)
    for _ in range(5):
        assert reads(library, next(coming)) == 0
    assert "Database " not in library.icloudfs("status").stdout
    assert library.daemon == daemon
    log = library.log.read_text()
    assert "Traceback" not in log
    assert log.count("is full") <= 3, "once, and once as the reason why a sync failed"
    assert "can be used again" in log


@pytest.fixture
def disk(library: Library) -> Iterator[FailingDisk]:
    """Below all that is the library's, which is mounted."""
    disk = FailingDisk(library.state.parent, library.scratch.folder / "orders")
    library.mount("--interval", str(INTERVAL), environment=disk.environment)
    yield disk
    disk.is_well()


@pytest.mark.parametrize(
    "calls",
    [
        "pread64",
        "fdatasync",
        "pwrite64 pread64 pwrite preadv2 preadv64v2 fdatasync fsync",
    ],
)
def test_the_disk_gives_errors(library: Library, disk: FailingDisk, calls: str) -> None:
    daemon, coming = library.daemon, photos(library)
    assert reads(library, next(coming)) == 0
    disk.fails(errno.EIO, calls)
    for _ in range(5):
        assert reads(library, next(coming)) in (0, errno.EIO)
    done = sync(library)
    assert done.returncode in (0, StateDamaged.exit_code), done.stderr
    assert library.icloudfs("status", check=False).returncode == done.returncode
    disk.is_well()
    wait_until(lambda: sync(library).returncode == 0, 30)
    wait_until(lambda: reads(library, next(coming)) == 0, 30)
    for _ in range(5):
        assert reads(library, next(coming)) == 0
    wait_until(lambda: library.icloudfs("status", check=False).returncode == 0, 30)
    assert library.status()["trouble"] is None
    assert library.daemon == daemon
    assert "Traceback" not in library.log.read_text()


def zero_pages_of(library: Library, table: str) -> None:
    """What a table begins with, and all its indexes."""
    (path,) = library.state.glob("*.db")
    with library.database() as connection:
        found = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE tbl_name = ? AND rootpage", (table,)
        ).fetchall()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        for (page,) in found:
            file.seek((page - 1) * size)
            file.write(bytes(size))


TABLES = ("content", "inode", "sync_runs", "zone")


@pytest.mark.parametrize("table", TABLES)
def test_a_zeroed_page(library: Library, table: str) -> None:
    """Either it is not mounted, with 18, or it is and lives; who needs the page gets an error."""
    zero_pages_of(library, table)
    mounted = library.icloudfs(
        "mount", library.mount_point, "--log-file", library.log, "--interval", "1", check=False
    )
    assert mounted.returncode in (0, StateDamaged.exit_code), mounted.stderr
    if mounted.returncode == 0:
        daemon = library.daemon
        for path in list(photos_if_any(library))[:3]:
            assert reads_or_fails(path) in (0, errno.EIO)
        sync(library)
        assert library.daemon == daemon
    for command in (("sync", "--mirror", "demand"), ("status",)):
        done = library.icloudfs(*command, check=False)
        assert done.returncode == StateDamaged.exit_code, (command, done.stdout, done.stderr)
        assert "damaged" in done.stderr
    if mounted.returncode == 0:
        assert "damaged" in library.icloudfs("status", check=False).stdout
        log = library.log.read_text()
        assert "Traceback" not in log
        assert log.count("is damaged") <= 4


def photos_if_any(library: Library) -> Iterator[Path]:
    try:
        yield from photos(library)
    except OSError as error:
        assert error.errno == errno.EIO


def reads_or_fails(path: Path) -> int:
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno or -1
    return 0
