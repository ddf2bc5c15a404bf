"""What ordinary programs see: names, sizes, times, links."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from icloudfs.state import completeness
from icloudfs.state.database import create
from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import TAKEN, Library, bytes_of
from tests.mount.mounted import Mount, names

BEFORE_THE_EPOCH = -600_000_000  # a scanned photo of 1950


@pytest.fixture
def mount(library: Library, place: Path) -> Iterator[Mount]:
    photos = library.directory(ROOT_INO, "Library")
    month = library.directory(photos, "2024-05")
    album = library.directory(ROOT_INO, "Urlaub 🏖")
    shared = library.file(month, "IMG_0001.HEIC", 5000, checksum="first")
    library.link(shared, album, "IMG_0001.HEIC")
    library.file(month, "Straße.JPG", 70_000, mtime=BEFORE_THE_EPOCH, checksum="second")
    library.file(month, "empty.JPG", 0)
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        yield mount


def run(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def test_a_photo_is_one_file_wherever_it_appears(mount: Mount) -> None:
    in_month = (mount.path / "Library/2024-05/IMG_0001.HEIC").stat()
    in_album = (mount.path / "Urlaub 🏖/IMG_0001.HEIC").stat()
    assert in_month == in_album
    assert in_month.st_nlink == 2
    used = run("du", "-s", "-B512", mount.path / "Library", mount.path / "Urlaub 🏖").split("\n")
    # Three directories of 8 blocks, the files of 10, 137 and 0: the shared one counts once.
    assert [line.split()[0] for line in used if line] == ["163", "8"]


def test_stat_tells_what_the_tree_says(mount: Mount) -> None:
    found = (mount.path / "Library/2024-05/IMG_0001.HEIC").stat()
    assert stat.S_IMODE(found.st_mode) == 0o644
    assert (found.st_size, found.st_blocks, found.st_blksize) == (5000, 10, 128 * 1024)
    assert found.st_mtime_ns == found.st_atime_ns == TAKEN * 10**9
    assert found.st_ctime_ns == (TAKEN + 1) * 10**9
    assert (found.st_uid, found.st_gid) == (os.getuid(), os.getgid())
    assert stat.S_IMODE((mount.path / "Library").stat().st_mode) == 0o755


def test_dates_before_1970_and_empty_files(mount: Mount) -> None:
    month = mount.path / "Library/2024-05"
    assert (month / "Straße.JPG").stat().st_mtime_ns == BEFORE_THE_EPOCH * 10**9
    assert (month / "empty.JPG").stat().st_blocks == 0
    assert (month / "empty.JPG").read_bytes() == b""


def test_listings_have_dots_and_agree(mount: Mount) -> None:
    listed = run("find", mount.path, "-printf", "%P %y %n\n").split("\n")
    assert sorted(listed) == sorted(
        [
            " d 2",
            "Library d 2",
            "Library/2024-05 d 2",
            "Library/2024-05/IMG_0001.HEIC f 2",
            "Library/2024-05/Straße.JPG f 1",
            "Library/2024-05/empty.JPG f 1",
            "Urlaub 🏖 d 2",
            "Urlaub 🏖/IMG_0001.HEIC f 2",
            "",
        ]
    )
    names = run("ls", "-a", "-U", mount.path / "Library/2024-05").split()
    assert names[:2] == [".", ".."]
    inode, *_ = run("ls", "-aid", mount.path / "Library/2024-05/..").split()
    assert int(inode) == (mount.path / "Library").stat().st_ino


def test_copies_are_equal(mount: Mount, place: Path) -> None:
    copy = place / "copy"
    run("cp", "-a", mount.path, copy)
    assert (copy / "Library/2024-05/IMG_0001.HEIC").read_bytes() == bytes_of("first", 5000)
    assert (copy / "Library/2024-05/Straße.JPG").read_bytes() == bytes_of("second", 70_000)
    assert (copy / "Urlaub 🏖/IMG_0001.HEIC").stat().st_nlink == 2
    run("diff", "-rq", mount.path, copy)


def test_tar_keeps_links_and_archives_no_zeros(mount: Mount, place: Path) -> None:
    archive = place / "all.tar"
    run("tar", "-C", mount.path, "-Scf", archive, ".")
    assert "link to" in run("tar", "-tvf", archive)
    extracted = run("tar", "-xOf", archive, "./Library/2024-05/Straße.JPG")
    assert extracted.encode() == bytes_of("second", 70_000)


def test_a_file_read_piecewise(mount: Mount) -> None:
    with (mount.path / "Library/2024-05/Straße.JPG").open("rb") as file:
        file.seek(65_000)
        assert file.read(10_000) == bytes_of("second", 70_000)[65_000:]
        assert file.read(1) == b""


def test_an_empty_library_is_an_empty_folder(place: Path) -> None:
    """Mounted before the first page has come, there is not even a row for the root."""
    (place / "state").mkdir()
    with closing(create(place / "state/me.db")) as connection:
        columns = "area, name, complete, albums_complete"
        connection.execute(
            f"INSERT INTO zone ({columns}) VALUES ('private', 'PrimarySync', TRUE, TRUE)"
        )
        completeness.note(connection, [], heard_of_all=True)
    with Mount(place / "state/me.db", place / "mnt") as mount:
        assert names(mount.path) == []
        assert stat.S_ISDIR(mount.path.stat().st_mode)
        assert run("find", mount.path, "-mindepth", "1") == ""


def test_special_files_are_found_but_not_listed(mount: Mount) -> None:
    assert not [name for name in names(mount.path) if name.startswith(".")]
    assert "Hidden" in (mount.path / ".hidden").read_text().splitlines()
    assert (mount.path / ".xdg-volume-info").read_text().startswith("[Volume Info]")
    assert (mount.path / ".directory").stat().st_ino < 1000
    for name in (".Trash", ".git", "Library/.hidden", "Library/.directory"):
        assert not (mount.path / name).exists()


def test_statfs(mount: Mount) -> None:
    figures = os.statvfs(mount.path)
    assert figures.f_namemax == 255
    assert figures.f_files - figures.f_ffree == 7
    assert 0 < figures.f_bavail <= figures.f_blocks
    assert "100%" not in run("df", mount.path) + run("df", "-i", mount.path)
    assert "icloudfs:me@example.com" in run("df", mount.path)
