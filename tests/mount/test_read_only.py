"""Every system call that would write, refused with EROFS: to the owner and to root."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import Library, bytes_of
from tests.mount.mounted import OWNER, ROOT, Mount, User

SWEEP = """
import ctypes, errno, os, sys
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
AT_FDCWD, RENAME_NOREPLACE, RENAME_EXCHANGE = -100, 1, 2
there = os.open("photo", os.O_RDONLY)
folder = os.open("folder", os.O_RDONLY)
calls = {
    "open O_WRONLY": lambda: os.open("photo", os.O_WRONLY),
    "open O_RDWR": lambda: os.open("photo", os.O_RDWR),
    "open O_TRUNC": lambda: os.open("photo", os.O_RDONLY | os.O_TRUNC),
    "open O_APPEND": lambda: os.open("photo", os.O_WRONLY | os.O_APPEND),
    "creat": lambda: os.open("new", os.O_CREAT | os.O_WRONLY),
    "creat exclusive": lambda: os.open("new", os.O_CREAT | os.O_EXCL | os.O_RDWR),
    "creat read-only": lambda: os.open("new", os.O_CREAT | os.O_RDONLY),
    "truncate": lambda: os.truncate("photo", 0),
    "mknod": lambda: os.mknod("new"),
    "mkfifo": lambda: os.mkfifo("new"),
    "mkdir": lambda: os.mkdir("new"),
    "symlink": lambda: os.symlink("photo", "new"),
    "link": lambda: os.link("photo", "new"),
    "rename": lambda: os.rename("photo", "new"),
    "rename over": lambda: os.rename("photo", "other"),
    "rename folder": lambda: os.rename("folder", "new"),
    "renameat2 noreplace": lambda: call("renameat2", AT_FDCWD, b"photo", AT_FDCWD, b"new", RENAME_NOREPLACE),
    "renameat2 exchange": lambda: call("renameat2", AT_FDCWD, b"photo", AT_FDCWD, b"other", RENAME_EXCHANGE),
    "unlink": lambda: os.unlink("photo"),
    "rmdir": lambda: os.rmdir("folder"),
    "chmod": lambda: os.chmod("photo", 0o644),
    "fchmod": lambda: os.fchmod(there, 0o644),
    "chown": lambda: os.chown("photo", os.getuid(), os.getgid()),
    "fchown": lambda: os.fchown(there, os.getuid(), os.getgid()),
    "utime": lambda: os.utime("photo"),
    "utimensat": lambda: os.utime("photo", ns=(1, 1)),
    "futimens": lambda: os.utime(there, ns=(1, 1)),
    "chmod folder": lambda: os.chmod(".", 0o755),
    "setxattr": lambda: os.setxattr("photo", "user.mine", b"1"),
    "setxattr create": lambda: os.setxattr("photo", "user.mine", b"1", os.XATTR_CREATE),
    "fsetxattr": lambda: os.setxattr(there, "user.mine", b"1"),
    "removexattr": lambda: os.removexattr("photo", "user.icloudfs.asset"),
    "access W_OK": lambda: call("access", b"photo", os.W_OK),
    "access W_OK folder": lambda: call("access", b".", os.W_OK),
    "access R_OK|W_OK": lambda: call("access", b"photo", os.R_OK | os.W_OK),
}
for name, attempt in calls.items():
    try:
        attempt()
        print(name, "was done")
    except OSError as error:
        if error.errno != errno.EROFS:
            print(name, errno.errorcode[error.errno])
# Reading what is there, and syncing it, is no writing.
assert os.open("photo", os.O_RDONLY | os.O_CREAT) > 0
os.fsync(there), os.fdatasync(there), os.fsync(folder)
assert os.access("photo", os.R_OK) and os.access("folder", os.R_OK | os.X_OK)
assert not os.access("photo", os.X_OK)
"""


@pytest.mark.parametrize("user", [ROOT, OWNER], ids=lambda user: user.name)
def test_every_write_is_refused(library: Library, place: Path, user: User) -> None:
    library.file(ROOT_INO, "photo", 100, checksum="kept")
    library.file(ROOT_INO, "other")
    library.directory(ROOT_INO, "folder")
    library.close()
    with Mount(library.path, place / "mnt", user=user) as mount:
        assert user.python(SWEEP, str(mount.path)) == ""
        kept = user.run("cat", str(mount.path / "photo")).stdout
        assert kept.encode() == bytes_of("kept", 100)
        assert mount.stop() == 0


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
