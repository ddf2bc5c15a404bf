"""Every system call that would write, refused with EROFS: to the owner and to root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import Library, bytes_of
from tests.mount.mounted import OTHER, OWNER, ROOT, Mount, User
from tests.sweep import SWEEP


@pytest.mark.parametrize("user", [ROOT, OWNER], ids=lambda user: user.name)
def test_every_write_is_refused(library: Library, place: Path, user: User) -> None:
    library.file(ROOT_INO, "photo", 100, checksum="kept")
    library.file(ROOT_INO, "other")
    library.directory(ROOT_INO, "folder")
    library.close()
    with Mount(library.path, place / "mnt", user=user) as mount:
        assert user.python(SWEEP, str(mount.path), "photo", "other", "folder") == ""
        kept = user.run("cat", str(mount.path / "photo")).stdout
        assert kept.encode() == bytes_of("kept", 100)
        assert mount.stop() == 0


@pytest.mark.usefixtures("_user_allow_other")
def test_writes_of_other_users_are_refused_with_the_same_words(
    library: Library, place: Path
) -> None:
    library.file(ROOT_INO, "photo", 100, checksum="kept")
    library.file(ROOT_INO, "other")
    library.directory(ROOT_INO, "folder")
    library.close()
    with Mount(library.path, place / "mnt", user=OWNER, allow_other=True) as mount:
        for user in (OTHER, ROOT):
            assert user.python(SWEEP, str(mount.path), "photo", "other", "folder") == ""


@pytest.mark.parametrize("umask", [0, 0o077], ids=oct)
def test_copies_can_be_changed_and_removed(library: Library, place: Path, umask: int) -> None:
    """By who made them: ``cp`` gives them the modes of what it copied."""
    album = library.directory(library.directory(ROOT_INO, "Albums"), "Norway")
    library.file(album, "photo", checksum="kept")
    library.close()
    copies = place / "copies"
    copies.mkdir()
    os.chown(copies, OWNER.uid, OWNER.gid)
    with Mount(library.path, place / "mnt", user=OWNER, umask=umask) as mount:
        for flag in ("-r", "-a"):
            copy = copies / "copy"
            assert OWNER.run("cp", flag, str(mount.path / "Albums"), str(copy)).returncode == 0
            change = "echo more >> $0/Norway/photo && touch $0/Norway/new && rm -r $0"
            changed = OWNER.run("sh", "-c", change, str(copy))
            assert (changed.returncode, changed.stderr) == (0, "")
            assert not copy.exists()


def test_programs_say_read_only(library: Library, place: Path) -> None:
    library.file(ROOT_INO, "photo", 100, checksum="kept")
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        for command in (["touch"], ["rm", "-f"], ["truncate", "-s0"], ["cp", "/etc/hostname"]):
            done = subprocess.run(
                [*command, mount.path / "photo"], capture_output=True, text=True, check=False
            )
            assert done.returncode != 0
            assert "Read-only file system" in done.stderr
        assert (mount.path / "photo").read_bytes() == bytes_of("kept", 100)
