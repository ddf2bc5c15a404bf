"""As mount(8) does it: with two words and options, in an empty environment."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scratch import ICLOUDFS, Scratch, wait_until
from tests.whole.library import Library
from tests.whole.local_icloud import LocalICloud

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def helper(scratch: Scratch) -> Path:
    """``mount.icloudfs``, as ``install-units`` links it."""
    link = scratch.folder / "mount.icloudfs"
    link.symlink_to(ICLOUDFS)
    return link


@pytest.fixture
def config(library: Library, scratch: Scratch) -> Iterator[Path]:
    """What the environment says elsewhere: a line in fstab has none."""
    path = scratch.folder / "config.toml"
    path.write_text(
        f'endpoint = "{library.icloud.url}"\n'
        f'cookie_directory = "{library.state}"\n'
        f'cache_dir = "{library.cache}"\n'
        "thumbnails = false\n"
    )
    yield path
    library.end()


def mount(
    library: Library,
    helper: Path,
    options: str,
    *flags: str,
    source: str | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """In an environment with nothing in it but the mark that tells our processes from others."""
    (mark,) = [name for name in library.scratch.environment if name == "ICLOUDFS_TEST"]
    return subprocess.run(
        [
            helper,
            source or library.icloud.account.apple_id,
            library.mount_point,
            *flags,
            "-o",
            options,
        ],
        env={mark: library.scratch.environment[mark]},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_mounted_and_unmounted(library: Library, helper: Path, config: Path) -> None:
    done = mount(library, helper, f"rw,_netdev,x-systemd.automount,dev,suid,config={config}")

    assert (done.returncode, done.stderr) == (0, "")
    assert "Library" in library.views()
    shown = next(
        line
        for line in Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines()
        if f" {library.mount_point} " in line
    )
    assert shown.split()[2] == "fuse.icloudfs"
    assert {"nosuid", "nodev"} <= set(shown.split()[3].split(","))

    daemon = os.pidfd_open(library.daemon)
    subprocess.run(["umount", library.mount_point], check=True)
    wait_until(lambda: library.scratch.processes() == {})
    os.close(daemon)


def test_what_is_mounted_by_mount_is_complete(
    library: Library, icloud: LocalICloud, helper: Path, config: Path
) -> None:
    """So whatever is ordered after it finds everything. ``no_wait`` does without."""
    library.icloudfs("reset-state", "--yes")
    icloud.control.set_fault("*", "status", call="list:hidden", status=503, retry_after=0.2)
    assert mount(library, helper, f"no_wait,config={config}").returncode == 0
    with pytest.raises(BlockingIOError):
        library.views()
    library.unmount()

    clearing = threading.Timer(1.0, icloud.control.clear_faults)
    clearing.start()
    done = mount(library, helper, f"config={config}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Library" in library.views()
    clearing.join()
    assert os.getpgid(library.daemon) == library.daemon


def test_permissions_as_they_are_asked_for(library: Library, helper: Path, config: Path) -> None:
    mount(library, helper, f"allow_other,uid=1234,gid=2345,umask=027,config={config}")

    found = next(library.files("Library")).stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 2345, 0o640)


def line_of_readme() -> str:
    """The line for ``/etc/fstab``, as it stands there."""
    lines = (PROJECT / "README.md").read_text().splitlines()
    (line,) = [line for line in lines if line.endswith(" 0 0")]
    return line


def test_the_readmes_line_is_known_as_mounted(library: Library, helper: Path, config: Path) -> None:
    """``mount -a`` compares what is in the first column, and mounts once more what it does not find."""
    readme, account = line_of_readme(), library.icloud.account.apple_id
    line = readme.replace("you@example.com", account).replace(
        "/srv/photos", str(library.mount_point)
    )
    table = library.scratch.folder / "fstab"
    table.write_text(line.replace("noauto,", "") + "\n")
    assert mount(library, helper, f"config={config}", source=line.split()[0]).returncode == 0

    again = ["mount", "--all", "--verbose", "--fstab", str(table)]
    said = subprocess.run(again, capture_output=True, text=True, timeout=30, check=False)

    assert said.returncode == 0, said.stderr
    assert re.search(rf"{library.mount_point}\s*: already mounted", said.stdout)


def test_what_lies_about_is_not_run(library: Library, helper: Path, config: Path) -> None:
    """mount(8) is run by root, from anywhere."""
    (library.scratch.folder / "icloudfs").mkdir()
    trap = library.scratch.folder / "icloudfs/__init__.py"
    sprung = library.scratch.folder / "sprung"
    trap.write_text(f"import os; os.mkdir({str(sprung)!r})\n")
    done = mount(library, helper, f"config={config}", cwd=library.scratch.folder)
    assert done.returncode == 0, done.stderr
    assert not sprung.exists()


def test_why_not(library: Library, helper: Path, config: Path) -> None:
    for options, complaint in (
        (f"config={config},fast", "Unknown mount option 'fast'"),
        (
            f"config={config},cookie_directory={library.scratch.folder}/nowhere",
            "Nobody is signed in",
        ),
    ):
        done = mount(library, helper, options)
        assert done.returncode == 32
        assert complaint in done.stderr
        assert not library.is_mounted


def test_in_another_mount_namespace(library: Library, helper: Path, config: Path) -> None:
    apart = library.scratch.start("unshare", "--mount", "sleep", "60")
    ours = Path("/proc/self/ns/mnt").readlink()
    wait_until(lambda: Path(f"/proc/{apart.pid}/ns/mnt").readlink() != ours)
    time.sleep(0.1)

    done = mount(library, helper, f"config={config}", "-N", str(apart.pid))

    assert (done.returncode, done.stderr) == (0, "")
    assert not library.is_mounted
    inside = ["nsenter", f"--mount=/proc/{apart.pid}/ns/mnt"]
    seen = subprocess.run([*inside, "ls", library.mount_point], capture_output=True, text=True)
    assert "Library" in seen.stdout
    subprocess.run([*inside, "umount", library.mount_point], check=True)
    apart.kill()
    apart.wait()
