"""Why the service of a server keeps CAP_SYS_ADMIN for as long as it is mounted (docs/SEMANTICS.md).

Were one of these to fail, the reason would be gone, and the capability could be dropped.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from icloudfs.mount import actor
from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import Library
from tests.mount.mounted import OWNER, Mount, interpreter, is_mounted

AS_THE_SERVICE = (
    "setpriv",
    f"--reuid={OWNER.uid}",
    f"--regid={OWNER.gid}",
    "--init-groups",
    "--no-new-privs",
)
"""The unit's ``User=`` and ``NoNewPrivileges=``."""

WITHOUT = "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"
WITH = tuple(f"{option},+sys_admin" for option in WITHOUT)


def done(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AS_THE_SERVICE, *command], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture
def mount(library: Library, place: Path) -> Mount:
    library.file(ROOT_INO, "photo")
    library.close()
    return Mount(library.path, place / "mnt", user=OWNER)


def test_unmounting_takes_it(mount: Mount) -> None:
    """A service may not become root by what is setuid, as fusermount3 is."""
    with mount:
        unmount = "fusermount3", "-u", "--", mount.path
        refused = done(*WITHOUT, *unmount)
        assert refused.returncode != 0 and "not permitted" in refused.stderr
        assert is_mounted(mount.path)
        assert done(*WITH, *unmount).returncode == 0
        assert mount.process.wait(10) == 0


GIVEN_UP = """
import ctypes, pathlib, threading
over = threading.Event()
threading.Thread(target=over.wait).start()
libc = ctypes.CDLL(None)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
assert libc.capset(header, (ctypes.c_uint32 * 6)()) == 0
for task in sorted(pathlib.Path("/proc/self/task").iterdir(), key=lambda task: int(task.name)):
    (effective,) = [l for l in (task / "status").read_text().splitlines() if "CapEff" in l]
    print(int(effective.split()[1], 16) >> 21 & 1)
over.set()
"""


def test_giving_it_up_concerns_one_thread() -> None:
    """Those that were begun before, for the database and the cache, have it still."""
    shown = done(*WITH, interpreter(OWNER.name), "-I", "-S", "-c", GIVEN_UP)
    assert (shown.stdout.split(), shown.stderr) == (["0", "1"], "")


def test_folders_that_are_shown_as_read_only_are_live_by_it(mount: Mount) -> None:
    look = (
        "import os, runpy, sys; runpy.run_path(sys.argv[1])['writable'](os.fsencode(sys.argv[2]))"
    )
    way = (
        interpreter(OWNER.name),
        "-I",
        "-S",
        "-c",
        look,
        readable(actor.__file__, mount),
        mount.path,
    )
    with mount:
        assert "not permitted" in done(*WITHOUT, *way).stderr
        assert done(*WITH, *way).returncode == 0
        assert mount.stop() == 0


def readable(program: str, mount: Mount) -> Path:
    """A copy of a program that the user can read."""
    copy = mount.path.with_name("actor.py")
    copy.write_bytes(Path(program).read_bytes())
    copy.chmod(0o644)
    return copy
