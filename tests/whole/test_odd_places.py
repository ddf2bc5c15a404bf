"""Folder, state and cache may be called anything, and be anywhere; and so may the directory where one is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.odd import NAMES, TOGETHER
from tests.scratch import ICLOUDFS
from tests.whole.library import Library

MOST_SMALL = 1 << 20
"""Bytes of a photo that is soon here."""


@pytest.fixture(params=list(TOGETHER.values()), ids=list(TOGETHER))
def odd(request: pytest.FixtureRequest, library: Library) -> Library:
    """A library all of whose places have one such name."""
    name: str = request.param
    library.mount_point = library.mount_point.with_name(name)
    library.mount_point.mkdir()
    state, cache = library.state.with_name(f"{name}.state"), library.cache.with_name(f"c{name}")
    library.state.rename(state)
    library.state, library.cache = state, cache
    library.log = library.log.with_name(f"{name}.log")
    library.environment |= {
        "ICLOUDFS_COOKIE_DIRECTORY": str(state),
        "ICLOUDFS_CACHE_DIR": str(cache),
    }
    return library


def test_a_mount_lives_and_ends_under_any_name(odd: Library) -> None:
    odd.mount()
    photo = next(odd.files("Library"))
    assert photo.read_bytes() == odd.truth(photo)
    assert str(odd.mount_point) in odd.icloudfs("status").stdout
    told = odd.status()
    assert told["running"] == f"mounted on {odd.mount_point}, process {odd.daemon}"
    assert told["cache"]["directory"] == str(odd.cache / "alice@example.com")
    assert not told["folder_gone"]
    assert json.loads(odd.icloudfs("doctor", "--json", check=False).stdout)[-1]["well"]
    refused = odd.icloudfs("mount", odd.mount_point, check=False)
    assert refused.returncode == 8 and str(odd.mount_point) in refused.stderr
    odd.icloudfs("import-existing", "--dry-run", "-d", odd.state)

    odd.kill()
    odd.mount()
    assert odd.views()
    odd.unmount()

    assert not odd.is_mounted
    assert odd.cached_files()
    assert "Traceback" not in odd.log.read_text()
    odd.icloudfs("verify", "--checksums")
    odd.icloudfs("reset-state", "--yes", "--cache")


def test_a_mount_under_any_name_that_hangs(odd: Library) -> None:
    """Its daemon is found by what its lock says."""
    odd.mount()
    daemon = odd.daemon
    os.kill(daemon, 19)

    odd.unmount()

    assert daemon not in odd.scratch.processes()


def test_what_is_wrong_is_told_with_the_name_as_it_is(library: Library) -> None:
    for name in TOGETHER.values():
        place = library.mount_point / name / "nowhere"
        refused = library.icloudfs("mount", "--", place, check=False)
        assert refused.returncode == 7, refused.stderr
        assert f"There is no folder {place}" in refused.stderr


_ALONE = ("unshare", "--mount", "--propagation", "private", "sh", "-ec")
"""In a mount namespace of its own: other programs of this machine shall not meet what is done there."""


def test_a_neighbour_with_a_line_separator_is_in_nobody_s_way(library: Library) -> None:
    script = """
    mkdir "$2" && mount -t tmpfs none "$2"
    "$0" mount "$1"; ls "$1"; "$0" doctor || true; "$0" unmount "$1"
    """
    neighbour = library.scratch.folder / NAMES["line separator"]

    done = library.scratch.run(
        *(*_ALONE, script, ICLOUDFS, library.mount_point, neighbour),
        environment=library.environment,
    )

    assert "Library\n" in done.stdout
    assert re.search(r"ok +mount", done.stdout)
    assert "Traceback" not in done.stderr


# -- where one is ------------------------------------------------------------------------------------


def test_the_daemon_is_in_nobody_s_directory(library: Library) -> None:
    """Neither is what it starts: a folder that one has left can be unmounted or removed."""
    start = library.scratch.folder / "start"
    start.mkdir()
    relative = {
        "ICLOUDFS_COOKIE_DIRECTORY": os.path.relpath(library.state, start),
        "ICLOUDFS_CACHE_DIR": os.path.relpath(library.cache, start),
    }
    place = Path(os.path.relpath(library.mount_point, start))

    library.icloudfs("mount", place, "--log-file", "log", cwd=start, environment=relative)

    next(library.files("Library")).read_bytes()
    for pid in library.scratch.processes():
        if pid != library.icloud.process.pid:
            assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    assert library.cached_files() and (start / "log").exists()


def test_the_daemon_may_open_as_many_files_as_the_system_lets_it(library: Library) -> None:
    """And what it is asked for when that is not enough is no photo that is gone, or broken."""
    library.scratch.run(
        *("prlimit", "--nofile=64:90", ICLOUDFS, "mount", library.mount_point),
        *("--log-file", library.log),
        environment=library.environment,
    )
    limits = Path(f"/proc/{library.daemon}/limits").read_text()
    assert re.search(r"^Max open files +90 +90 ", limits, re.MULTILINE)
    photos = [path for path in library.files("Library") if path.stat().st_size < MOST_SMALL]
    for photo in photos[:5]:
        photo.read_bytes()

    opened = []
    with pytest.raises(OSError, match="Too many open files"), ExitStack() as stack:
        for photo in photos:
            opened.append(stack.enter_context(photo.open("rb")))
            opened[-1].read()

    assert len(opened) > 10
    for photo in photos[:5]:
        assert photo.read_bytes() == library.truth(photo)
    assert library.icloudfs("status", "--failed").returncode == 0
    assert "Traceback" not in library.log.read_text()


def test_a_cache_that_is_deleted_while_it_is_used(library: Library) -> None:
    library.mount()
    photos = [path for path in library.files("Library") if path.stat().st_size < MOST_SMALL][:6]
    for photo in photos[:3]:
        photo.read_bytes()

    away = library.cache.rename(library.cache.with_name("away"))
    shutil.rmtree(away, ignore_errors=True)  # the last photo may still move in there

    for photo in photos:
        assert photo.read_bytes() == library.truth(photo)
    assert len(library.cached_files()) >= 3
    assert "Traceback" not in library.log.read_text()


def test_a_directory_that_was_removed(library: Library) -> None:
    gone = library.scratch.folder / "gone"
    script = 'mkdir "$1" && cd "$1" && rmdir "$1" && shift && exec "$0" "$@"'

    def there(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return library.scratch.run(
            *("sh", "-c", script, ICLOUDFS, gone, *words),
            check=False,
            environment=library.environment,
        )

    for words in (("mount", "photos"), ("unmount", "photos"), ("unmount", ".")):
        refused = there(*words)
        assert refused.returncode == 7, refused.stderr
        assert "the directory where you are has been removed" in refused.stderr
        assert "Traceback" not in refused.stderr
    refused = there("mount", library.mount_point, "--cache-dir", "cache")
    assert refused.returncode == 10
    assert "the directory where you are has been removed" in refused.stderr

    assert there("mount", library.mount_point, "--log-file", library.log).returncode == 0
    assert there("status").returncode == 0
    assert there("doctor").returncode in (0, 16)
    assert there("unmount", library.mount_point).returncode == 0


# -- who one is --------------------------------------------------------------------------------------


def test_who_has_no_home_can_mount(library: Library) -> None:
    """As in a container: no HOME, and nobody in the list of users."""
    script = """
    mount --bind /dev/null /etc/passwd; unset HOME
    "$0" mount "$1" --thumbnails; ls "$1"; "$0" status; "$0" unmount "$1"
    """

    done = library.scratch.run(
        *(*_ALONE, script, ICLOUDFS, library.mount_point), environment=library.environment
    )

    assert "Library\n" in done.stdout
    assert f"mounted on {library.mount_point}" in done.stdout
    assert "Traceback" not in done.stderr + next(library.state.glob("*.log")).read_text()
