"""The kernel's table of mounts, whatever anybody has called a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from icloudfs.cache.walking import our_mounts
from icloudfs.mount import mount_table
from icloudfs.mountinfo import Mounted, mounts
from tests.odd import NAMES, ODD

_MOUNT_ALL = """
import ctypes, os, sys
from icloudfs.mountinfo import mounts
libc, top = ctypes.CDLL(None, use_errno=True), os.fsencode(sys.argv[1])
for name in os.listdir(top):
    source, place = b"odd:" + name, os.path.join(top, name)
    assert libc.mount(source, place, b"tmpfs", 0, None) == 0, (name, ctypes.get_errno())
for mounted in mounts():
    if mounted.source.startswith("odd:"):
        assert os.fsencode(mounted.path) == os.path.join(top, os.fsencode(mounted.source[4:]))
        assert mounted.minor == os.minor(os.stat(mounted.path).st_dev)
        print(os.fsencode(mounted.path).hex())
"""
"""Said by a program in a mount namespace of its own: other programs of this machine shall not meet these."""


def test_the_kernel_s_own_table(tmp_path: Path) -> None:
    for name in ODD.values():
        (tmp_path / os.fsdecode(name)).mkdir()
    alone = ("unshare", "--mount", "--propagation", "private")

    told = subprocess.run(
        [*alone, sys.executable, "-c", _MOUNT_ALL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stderr
    seen = {bytes.fromhex(line) for line in told.stdout.split()}
    assert seen == {os.fsencode(tmp_path) + b"/" + name for name in ODD.values()}


def _escaped(text: bytes) -> bytes:
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\" else bytes([byte]) for byte in text)


def _line(path: bytes, kind: bytes = b"fuse.icloudfs", tags: bytes = b"shared:1 ") -> bytes:
    options = b"rw,user_id=1000,group_id=5,allow_other"
    return b"50 1 0:60 / %b rw,nosuid %b- %b icloudfs:me %b\n" % (
        _escaped(path),
        tags,
        kind,
        options,
    )


@pytest.mark.parametrize("name", ODD.values(), ids=ODD.keys())
def test_whatever_a_neighbour_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    """It is told from ours, and takes none of ours away."""
    table = tmp_path / "mountinfo"
    table.write_bytes(
        _line(b"/srv/" + name, b"ext4") + _line(b"/home/" + name) + _line(b"/me", tags=b"")
    )
    for module in ("icloudfs.mount.mount_table", "icloudfs.cache.walking"):
        monkeypatch.setattr(f"{module}.mounts", lambda: mounts(table))
    odd = Path(os.fsdecode(b"/home/" + name))

    assert [mounted.path for mounted in mount_table.all_of_ours()] == [odd, Path("/me")]
    assert mount_table.mounted_at(odd) == Mounted(odd, "fuse.icloudfs", "icloudfs:me", 60, 1000, 50)
    assert mount_table.mounted_above(odd / "below" / "it") == mount_table.mounted_at(odd)
    assert our_mounts() == {b"/home/" + name, b"/me"}


def test_a_source_that_is_empty(tmp_path: Path) -> None:
    """It stands between two blanks, and is not to be taken for the options."""
    table = tmp_path / "mountinfo"
    table.write_bytes(b"50 1 0:60 / /mnt rw - tmpfs  rw,size=1k\n\n50 1 0:60\n")

    assert [*mounts(table)] == [Mounted(Path("/mnt"), "tmpfs", "", 60, number=50)]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_place_below_the_topmost_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    table = tmp_path / "mountinfo"
    place = os.fsencode(f"/home/{name}")
    table.write_bytes(_line(place, b"ext4") + _line(place) + _line(b"/home", b"xfs"))
    monkeypatch.setattr(mount_table, "mounts", lambda: mounts(table))

    above = mount_table.mounted_above(Path("/home", name, "photos"))

    assert above is not None and above.ours
