"""Who sees what: the owner, root and another user, with ``allow_other`` and without."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import Library
from tests.mount.mounted import OTHER, OWNER, ROOT, Mount, User


def fill(library: Library) -> None:
    library.file(ROOT_INO, "photo")
    hidden = library.directory(ROOT_INO, "Hidden", 0o700)
    library.file(hidden, "secret", mode=0o600)
    library.file(library.directory(hidden, "2024"), "deeper", mode=0o600)
    library.close()


def attempt(user: User, program: str, path: Path) -> str:
    """'done' or the name of the errno that ``program`` met."""
    return user.python(
        "import errno, os, sys\npath = sys.argv[1]\n"
        f"try: {program}; print('done')\nexcept OSError as error: print(errno.errorcode[error.errno])",
        str(path),
    )


READ = "open(path, 'rb').read()"
LIST = "os.listdir(path)"
STAT = "os.stat(path)"
WATCH = (
    "import ctypes; libc = ctypes.CDLL(None, use_errno=True); there = libc.inotify_init1(0);"
    " told = libc.inotify_add_watch(there, os.fsencode(path), 0xFFF);"
    " assert told > 0 or ctypes.get_errno() == errno.EACCES, ctypes.get_errno();"
    " print('watched' if told > 0 else 'EACCES')"
)
XATTR = "os.getxattr(path, 'user.icloudfs.asset')"


def test_without_allow_other_it_is_the_owners_alone(library: Library, place: Path) -> None:
    fill(library)
    with Mount(library.path, place / "mnt", user=OWNER) as mount:
        assert attempt(OWNER, READ, mount.path / "photo") == "done"
        assert attempt(OWNER, READ, mount.path / "Hidden/secret") == "done"
        for user in (OTHER, ROOT):
            assert attempt(user, LIST, mount.path) == "EACCES"
            assert attempt(user, STAT, mount.path / "photo") == "EACCES"
        assert mount.stop() == 0


@pytest.mark.usefixtures("_user_allow_other")
@pytest.mark.parametrize("owner", [OWNER, ROOT], ids=lambda user: user.name)
def test_with_allow_other_the_modes_decide(library: Library, place: Path, owner: User) -> None:
    fill(library)
    with Mount(library.path, place / "mnt", user=owner, allow_other=True) as mount:
        for user in (owner, ROOT):
            # First those who may, so that the kernel has it all in memory when the other one asks.
            assert attempt(user, LIST, mount.path / "Hidden") == "done"
            assert attempt(user, READ, mount.path / "Hidden/secret") == "done"
            assert attempt(user, XATTR, mount.path / "Hidden/secret") == "done"
            assert attempt(user, READ, mount.path / "Hidden/2024/deeper") == "done"
        for program in (LIST, "os.chdir(path)"):
            assert attempt(OTHER, program, mount.path) == "done"
            assert attempt(OTHER, program, mount.path / "Hidden") == "EACCES"
        for program in (READ, XATTR):
            assert attempt(OTHER, program, mount.path / "photo") == "done"
        for program in (STAT, READ, XATTR):
            for secret in ("Hidden/secret", "Hidden/2024/deeper", "Hidden/nothing", ".icloudfs"):
                assert attempt(OTHER, program, mount.path / secret) == "EACCES"
        refused = attempt(OTHER, "open(path, 'wb')", mount.path / "photo")
        assert refused == "EROFS"


@pytest.mark.usefixtures("_user_allow_other")
@pytest.mark.parametrize("owner", [OWNER, ROOT], ids=lambda user: user.name)
def test_nobody_else_hears_what_happens_in_hidden(
    library: Library, place: Path, owner: User
) -> None:
    """The kernel asks nobody who may watch by inotify: who may not look in must not even get there."""
    fill(library)
    with Mount(library.path, place / "mnt", user=owner, allow_other=True) as mount:

        def watched(user: User, path: str) -> str:
            return attempt(user, WATCH, mount.path / path).splitlines()[0]

        for _ in range(2):  # the second time the kernel knows it all
            for path in ("Hidden", "Hidden/.", "Hidden/2024", "Hidden/secret", "Hidden/2024/.."):
                assert watched(OTHER, path) == "EACCES", path
                assert watched(owner, path) == "watched"
            assert attempt(owner, LIST, mount.path / "Hidden") == "done"
            assert attempt(OTHER, LIST, mount.path) == "done"
        assert watched(OTHER, "photo") == watched(OTHER, "") == "watched"
        assert attempt(OTHER, STAT, mount.path / "Hidden") == "EACCES"
        told = owner.run("cat", str(mount.path / ".icloudfs")).stdout
        assert "me@example.com" in told


@pytest.mark.usefixtures("_user_allow_other")
def test_groups_count(library: Library, place: Path) -> None:
    fill(library)
    with Mount(library.path, place / "mnt", user=OWNER, allow_other=True, umask=0o007) as mount:
        photo = str(mount.path / "photo")
        member = OTHER.run("cat", photo, extra_groups=[OWNER.gid])
        assert (member.returncode, len(member.stdout)) == (0, 1000)
        assert OTHER.run("cat", photo).returncode != 0
        assert OWNER.run("cat", photo).returncode == 0


@pytest.mark.usefixtures("_user_allow_other")
def test_umask_takes_bits_away(library: Library, place: Path) -> None:
    fill(library)
    with Mount(library.path, place / "mnt", umask=0o077, allow_other=True) as mount:
        assert (mount.path / "photo").stat().st_mode & 0o777 == 0o600
        assert attempt(OTHER, LIST, mount.path) == "EACCES"


@pytest.mark.usefixtures("fuse_conf")
def test_allow_other_needs_permission(library: Library, place: Path) -> None:
    """fusermount3's complaint becomes a sentence and what to do."""
    fill(library)
    with Mount(
        library.path, place / "mnt", user=OWNER, allow_other=True, expect_ready=False
    ) as mount:
        assert mount.process.wait(10) == 7, mount.log.read_text()
        assert "user_allow_other" in mount.first_answer["hint"]


def test_only_the_owner_may_unmount(library: Library, place: Path) -> None:
    fill(library)
    with Mount(library.path, place / "mnt", user=OWNER) as mount:
        assert subprocess.run(
            ["fusermount3", "-u", str(mount.path)], user=OTHER.uid, capture_output=True, check=False
        ).returncode
        assert os.path.ismount(mount.path) or OWNER.run("ls", str(mount.path)).returncode == 0
