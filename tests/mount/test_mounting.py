"""From an empty folder to an empty folder: bad places, signals, kills, unmounting from outside."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import trio

from icloudfs.errors import IcloudfsError, MountPointError
from icloudfs.mount import fusermount, limits, liveness, mount_point, mount_table, session_loop
from icloudfs.mount.settings import MountSettings
from icloudfs.mount.unmounting import unmount
from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import Library
from tests.mount.mounted import (
    OTHER,
    OWNER,
    ROOT,
    Mount,
    User,
    is_mounted,
    names,
    no_state,
    wait_until,
)


@pytest.fixture
def filled(library: Library) -> Library:
    library.file(ROOT_INO, "photo")
    library.file(ROOT_INO, "slow", checksum="slow")
    library.close()
    return library


# -- places that cannot be mounted on ----------------------------------------------------------------


async def refusal(path: Path) -> MountPointError:
    with pytest.raises(MountPointError) as caught:
        await mount_point.prepare(path)
    assert caught.value.hint or "cannot be" in str(caught.value)
    return caught.value


async def test_a_place_must_be_an_empty_folder(place: Path) -> None:
    (place / "file").write_text("")
    assert "not a folder" in str(await refusal(place / "file"))
    assert "not empty" in str(await refusal(place))
    missing = await refusal(place / "missing")
    assert "no folder" in str(missing) and "mkdir" in missing.hint
    assert "cannot be used" in str(await refusal(place / "file/below"))
    (place / "empty").mkdir()
    assert await mount_point.prepare(place / "empty") == place / "empty"


async def test_a_mounted_place_is_refused(filled: Library, place: Path) -> None:
    with Mount(filled.path, place / "mnt") as mount:
        assert "already" in str(await refusal(mount.path))
        assert "inside an icloudfs folder" in str(await refusal(mount.path / "below"))


async def test_a_relative_place_and_one_behind_a_link(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "real/empty").mkdir(parents=True)
    (place / "link").symlink_to("real")
    monkeypatch.chdir(place)
    assert await mount_point.prepare(Path("link/empty")) == place / "real/empty"


# -- the end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("user", [ROOT, OWNER], ids=lambda user: user.name)
def test_a_signal_unmounts(filled: Library, place: Path, user: User, signum: int) -> None:
    with Mount(filled.path, place / "mnt", user=user) as mount:
        assert user.run("ls", str(mount.path)).stdout == "photo\nslow\n"
        assert mount.stop(signum) == 0
        assert not is_mounted(mount.path)
        assert "still in use" not in mount.log.read_text()


@pytest.mark.parametrize("user", [ROOT, OWNER], ids=lambda user: user.name)
def test_a_busy_mount_goes_after_a_grace(filled: Library, place: Path, user: User) -> None:
    with (
        Mount(filled.path, place / "mnt", user=user) as mount,
        user.popen(["tail", "-f", str(mount.path / "photo")], stdout=subprocess.DEVNULL) as inside,
    ):
        wait_until(lambda: mount.asked("open"))
        start = time.monotonic()
        assert mount.stop() == 0
        assert 1 < time.monotonic() - start < 6
        assert not is_mounted(mount.path)
        inside.kill()


def test_a_second_signal_does_not_wait(filled: Library, place: Path) -> None:
    with Mount(filled.path, place / "mnt") as mount:
        inside = subprocess.Popen(["tail", "-f", mount.path / "photo"], stdout=subprocess.DEVNULL)
        wait_until(lambda: mount.asked("open"))
        mount.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        start = time.monotonic()
        assert mount.stop(signal.SIGINT) == 0
        assert time.monotonic() - start < 1
        assert not is_mounted(mount.path)
        inside.kill()
        inside.wait()


def test_it_ends_with_a_read_waiting(filled: Library, place: Path) -> None:
    with Mount(filled.path, place / "mnt") as mount:
        reader = subprocess.Popen(["cat", mount.path / "slow"], stderr=subprocess.DEVNULL)
        wait_until(lambda: mount.tell("waiting"))
        assert mount.stop() == 0
        assert reader.wait(5) != 0


def test_unmounting_from_outside_is_a_clean_end(filled: Library, place: Path) -> None:
    with Mount(filled.path, place / "mnt") as mount:
        subprocess.run(["umount", mount.path], check=True)
        assert mount.process.wait(10) == 0


@pytest.mark.parametrize("user", [ROOT, OWNER], ids=lambda user: user.name)
def test_a_killed_daemon_is_recovered(filled: Library, place: Path, user: User) -> None:
    with Mount(filled.path, place / "mnt", user=user) as mount:
        assert mount.stop(signal.SIGKILL) == -signal.SIGKILL
        assert user.run("ls", str(mount.path)).returncode != 0
        with Mount(filled.path, place / "mnt", user=user) as again:
            assert user.run("ls", str(again.path)).stdout == "photo\nslow\n"
            assert again.stop() == 0
        assert not is_mounted(mount.path)


@pytest.mark.parametrize("user", [ROOT, OWNER], ids=lambda user: user.name)
def test_one_is_recovered_that_the_kernel_still_answers_for(
    filled: Library, place: Path, user: User
) -> None:
    with Mount(filled.path, place / "mnt", user=user) as mount:
        stat = "import os, sys; print(os.stat(sys.argv[1]).st_ino)"
        before = user.python(stat, str(mount.path))
        mount.stop(signal.SIGKILL)
        assert user.python(stat, str(mount.path)) == before  # from memory
        with Mount(filled.path, place / "mnt", user=user) as again:
            assert user.run("ls", str(again.path)).stdout == "photo\nslow\n"
            assert again.stop() == 0


def test_two_dead_mounts_in_one_place_are_taken_away(filled: Library, place: Path) -> None:
    with Mount(filled.path, place / "mnt") as mount:
        subprocess.run(["mount", "--bind", mount.path, mount.path], check=True)
        mount.stop(signal.SIGKILL)
        assert trio.run(mount_point.prepare, mount.path) == mount.path
        assert not is_mounted(mount.path)


async def test_one_that_hangs_is_not_taken_for_dead(
    filled: Library, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "PATIENCE", 0.5)
    with Mount(filled.path, place / "mnt") as mount:
        mount.process.send_signal(signal.SIGSTOP)
        assert "does not answer" in str(await refusal(mount.path))
        assert is_mounted(mount.path)


def test_one_is_unmounted_that_was_killed_while_it_waited_for_itself(
    filled: Library, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of its threads tells the kernel to forget a page that a reader waits for: only the end of the mount
    ends the one, and it ends the other."""
    monkeypatch.setattr(liveness, "PATIENCE", 0.5)
    with Mount(filled.path, place / "mnt", heartbeat=True) as mount:
        slow = (mount.path / "slow").stat().st_ino
        reader = subprocess.Popen(["cat", mount.path / "slow"], stderr=subprocess.DEVNULL)
        wait_until(lambda: mount.tell("waiting"))
        change = {"sql": [], "changes": [["changed", slow, True]]}
        telling = threading.Thread(target=mount.tell, args=("change",), kwargs=change, daemon=True)
        telling.start()
        wait_until(lambda: "D" in states_of_threads(mount.process.pid))
        mount.process.kill()
        with pytest.raises(subprocess.TimeoutExpired):
            mount.process.wait(0.5)
        trio.run(unmount, mount.path, no_state)
        assert mount.process.wait(5) == -signal.SIGKILL
        assert reader.wait(5) != 0
        assert not is_mounted(mount.path)


def states_of_threads(process: int) -> set[str]:
    return {
        (thread / "stat").read_text().rpartition(")")[2].split()[0]
        for thread in Path(f"/proc/{process}/task").iterdir()
    }


# -- an end that nobody asked for --------------------------------------------------------------------


def is_dead(path: Path) -> bool:
    try:
        next(path.iterdir(), None)
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def test_a_bug_leaves_the_folder_dead_and_never_empty(filled: Library, place: Path) -> None:
    with Mount(filled.path, place / "mnt") as mount:
        reader = subprocess.Popen(["cat", mount.path / "slow"], stderr=subprocess.DEVNULL)
        wait_until(lambda: mount.tell("waiting"))
        mount.tell("fail")
        assert mount.process.wait(10) != 0
        assert reader.wait(5) != 0
        assert is_mounted(mount.path) and is_dead(mount.path)
        assert "is dead now" in mount.log.read_text()
        with Mount(filled.path, place / "mnt") as again:
            assert again.stop() == 0
        assert not is_mounted(mount.path) and names(mount.path) == []


def test_a_session_that_the_kernel_gives_up_leaves_it_dead(filled: Library, place: Path) -> None:
    with Mount(filled.path, place / "mnt") as mount:
        found = mount_table.mounted_at(mount.path)
        assert found is not None
        (limits.CONNECTIONS / str(found.minor) / "abort").write_text("1")
        assert mount.process.wait(10) != 0
        assert is_mounted(mount.path) and is_dead(mount.path)


def test_what_was_mounted_over_it_stays(filled: Library, place: Path) -> None:
    with Mount(filled.path, place / "mnt") as mount:
        with (mount.path / "photo").open("rb"):
            subprocess.run(["umount", "-l", mount.path], check=True)
            subprocess.run(["mount", "-t", "tmpfs", "none", mount.path], check=True)
            assert mount.stop() == 0
        found = mount_table.mounted_at(mount.path)
        assert found is not None and found.type == "tmpfs"
        subprocess.run(["umount", mount.path], check=True)


# -- icloudfs unmount --------------------------------------------------------------------------------


async def test_unmount_waits_for_the_daemon(filled: Library, place: Path) -> None:
    with Mount(filled.path, place / "mnt") as mount:
        await unmount(mount.path, no_state)
        assert mount.process.wait(0.2) == 0
        assert not is_mounted(mount.path)


async def test_unmount_says_what_is_in_the_way(filled: Library, place: Path) -> None:
    with pytest.raises(MountPointError, match="No iCloud library"):
        await unmount(place, no_state)
    with Mount(filled.path, place / "mnt") as mount:
        with (mount.path / "photo").open("rb"):
            with pytest.raises(MountPointError, match="in use") as caught:
                await unmount(mount.path, no_state)
            assert "--lazy" in caught.value.hint
            await unmount(mount.path, no_state, lazy=True)
        assert await trio.to_thread.run_sync(mount.process.wait, 10) == 0


def test_unmount_of_somebody_elses_mount(filled: Library, place: Path) -> None:
    with Mount(filled.path, place / "mnt", user=OWNER) as mount:
        refused = OTHER.run("fusermount3", "-u", str(mount.path))
        assert refused.returncode
        # What fusermount3 says then is what unmounting.py recognises.
        assert "not permitted" in refused.stderr or "not found in" in refused.stderr


async def test_unmount_of_a_dead_mount(filled: Library, place: Path) -> None:
    with Mount(filled.path, place / "mnt") as mount:
        mount.stop(signal.SIGKILL)
        await unmount(mount.path, no_state)
        assert not is_mounted(mount.path)


# -- small things ------------------------------------------------------------------------------------


async def test_what_fusermount_complains_of_becomes_a_sentence() -> None:
    complaints = {
        "fuse: device not found, try 'modprobe fuse' first": "no FUSE",
        "fusermount3: failed to open /dev/fuse: Permission denied": "may not be opened",
        "fusermount3: option allow_other only allowed if 'user_allow_other' is set": "Other users",
        "fuse: failed to exec fusermount3: No such file or directory": "not installed",
        "fusermount3: mount failed: Operation not permitted": "not allow mounting",
        "fusermount3: user has no write access to mountpoint /x": "not yours",
        "fusermount3: too many FUSE filesystems mounted": "Too many",
    }
    for complaint, sentence in complaints.items():
        meaning = fusermount.meaning(complaint)
        assert sentence in str(meaning) and meaning.hint
    assert "strange" in str(fusermount.meaning("something strange\n"))


def test_a_device_that_may_not_be_opened(filled: Library, place: Path) -> None:
    device = fusermount.DEVICE
    mode = device.stat().st_mode & 0o777
    device.chmod(0o600)
    try:
        with Mount(filled.path, place / "mnt", user=OWNER, expect_ready=False) as mount:
            assert mount.process.wait(10) == MountPointError.exit_code
            assert "may not be opened" in mount.first_answer["error"]
    finally:
        device.chmod(mode)


def test_another_pyfuse3_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    session_loop.check_version()
    monkeypatch.setattr("pyfuse3.__version__", "3.6.0")
    with pytest.raises(IcloudfsError, match=r"3\.6\.0"):
        session_loop.check_version()
    monkeypatch.setattr("pyfuse3.__version__", "3.5.1")
    monkeypatch.delattr("pyfuse3._session_loop")
    with pytest.raises(IcloudfsError):
        session_loop.check_version()


def test_the_source_survives_strange_accounts() -> None:
    assert MountSettings("me@example.com", 0, 0).source == "icloudfs:me@example.com"
    assert MountSettings("mü,r\\o", 0, 0).source == "icloudfs:m__r_o"


def test_labels_are_handed_on() -> None:
    """A comma within quotes is none of libfuse's."""
    labels = ('context="a:b:c_t:s0:c1,c2"', "rootcontext=a:b:c_t:s0")
    options = MountSettings("me@example.com", 0, 0, labels=labels).options()
    assert {'context="a:b:c_t:s0:c1\\,c2"', "rootcontext=a:b:c_t:s0"} <= options


def test_the_mount_table(filled: Library, place: Path) -> None:
    with Mount(filled.path, place / "with blank") as mount:
        found = mount_table.mounted_at(mount.path)
        assert found is not None and found.ours
        assert found.minor == os.minor(mount.path.stat().st_dev)
        above = mount_table.mounted_above(mount.path / "photo")
        assert above == found
