"""However a mount ends, nothing of it is left; and it says ready when it is."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from icloudfs.errors import AlreadyRunning
from tests.scratch import ICLOUDFS, wait_until
from tests.whole.library import Library


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_foreground_mount(library: Library, signum: signal.Signals) -> None:
    served = library.serve()
    assert library.views()

    served.send_signal(signum)

    assert served.wait(10) == 0
    assert not library.is_mounted
    assert library.views() == []


@pytest.mark.parametrize("command", [("umount",), ("fusermount3", "-u")])
def test_any_unmount_ends_the_daemon(library: Library, command: tuple[str, ...]) -> None:
    served = library.serve()

    library.scratch.run(*command, library.mount_point)

    assert served.wait(10) == 0
    assert "Traceback" not in library.log.read_text()


def test_unmount_waits_for_the_end_of_the_daemon(library: Library) -> None:
    library.mount()
    daemon = library.daemon

    library.unmount()

    assert daemon not in library.scratch.processes()
    assert not library.is_mounted
    assert library.status()["running"] is None


def test_unmount_ends_a_daemon_whose_mount_a_container_has_copied(library: Library) -> None:
    """While it does, the kernel does not tell the daemon that the folder is gone."""
    library.mount()
    daemon = library.daemon
    container = library.scratch.start(
        "unshare", "--mount", "--propagation", "private", "cat", stdin=subprocess.PIPE
    )
    namespace = Path(f"/proc/{container.pid}/ns/mnt")
    wait_until(lambda: namespace.readlink() != Path("/proc/self/ns/mnt").readlink())
    began = time.monotonic()

    library.unmount()

    assert time.monotonic() - began < 10
    assert daemon not in library.scratch.processes()
    assert container.poll() is None
    container.kill()
    container.wait()


def test_a_daemon_whose_folder_is_gone_is_told_of_and_can_be_ended(library: Library) -> None:
    """Unmounted lazily, it goes on for who has a file open, and holds the account's lock."""
    library.mount()
    daemon = library.daemon
    with next(library.files("Library")).open("rb"):
        library.scratch.run("umount", "--lazy", library.mount_point)

        assert library.status()["folder_gone"]
        assert "but nothing is mounted there" in library.icloudfs("status").stdout
        refused = library.icloudfs("mount", library.mount_point, check=False)
        assert refused.returncode == AlreadyRunning.exit_code
        assert "but nothing is mounted there" in refused.stderr
        assert f"End it first: icloudfs unmount {library.mount_point}\n" in refused.stderr
        library.unmount()

    assert daemon not in library.scratch.processes()
    library.mount()
    assert not library.status()["folder_gone"]


def test_a_daemon_in_a_mount_namespace_of_its_own_can_be_ended(library: Library) -> None:
    alone = ("unshare", "--mount", "--propagation", "private", "--", ICLOUDFS)
    words = ("mount", library.mount_point, "--foreground", "--log-file", library.log)
    served = library.scratch.start(*alone, *words, environment=library.environment)
    wait_until(lambda: library.log.exists() and "mounted" in library.log.read_text())
    wait_until(lambda: library.status()["folder_gone"])

    library.unmount()

    assert served.wait(10) == 0


@pytest.mark.parametrize("is_inside", [False, True], ids=["idle", "with programs in it"])
def test_a_daemon_that_hangs_is_unmounted_and_ended(library: Library, is_inside: bool) -> None:
    library.mount()
    daemon, folder = library.daemon, library.mount_point / "Library"
    os.kill(daemon, signal.SIGSTOP)
    inside = library.scratch.start("ls", "-l", folder, stderr=subprocess.DEVNULL, stdout=-3)
    if not is_inside:
        inside.kill()
        inside.wait()

    library.unmount()

    assert not library.is_mounted
    assert daemon not in library.scratch.processes()
    assert library.views() == []
    inside.wait(5)
    library.mount()
    assert library.views()


def test_an_unmount_that_is_given_up_leaves_nobody_inside(library: Library) -> None:
    """Somebody who presses Ctrl-C while a daemon hangs is not in the way of the next."""
    library.mount()
    daemon = library.daemon
    os.kill(daemon, signal.SIGSTOP)
    given_up = library.scratch.start(
        ICLOUDFS, "unmount", library.mount_point, environment=library.environment
    )
    wait_until(lambda: _asker(library) is not None)
    given_up.send_signal(signal.SIGINT)
    assert given_up.wait(5) != 0
    wait_until(lambda: _asker(library) is None)

    library.scratch.run("fusermount3", "-u", library.mount_point)

    os.kill(daemon, signal.SIGCONT)
    wait_until(lambda: daemon not in library.scratch.processes())


def _asker(library: Library) -> int | None:
    """The process that asks the mount for a sign of life."""
    asked = str(library.mount_point / ".icloudfs")
    return next((pid for pid, words in library.scratch.processes().items() if asked in words), None)


def test_a_signal_ends_a_mount_that_is_in_use(library: Library) -> None:
    """Programs get a moment to close their files; then it goes anyway."""
    served = library.serve()
    user = os.open(next(library.files("Library")), os.O_RDONLY)
    began = time.monotonic()

    served.send_signal(signal.SIGTERM)

    assert served.wait(10) == 0
    assert time.monotonic() - began < 5
    assert not library.is_mounted
    with pytest.raises(OSError, match="not connected"):
        os.close(user)


def test_unmount_refuses_a_folder_in_use_unless_lazy(library: Library) -> None:
    library.mount()
    with next(library.files("Library")).open("rb"):
        refused = library.icloudfs("unmount", library.mount_point, check=False)
        assert refused.returncode == 7
        assert "in use" in refused.stderr
        library.icloudfs("unmount", "--lazy", library.mount_point)
    assert not library.is_mounted


def test_a_dead_mount_is_taken_away_by_the_next_one(library: Library) -> None:
    library.mount()
    first = library.views()
    library.kill()
    with pytest.raises(OSError, match="not connected"):
        library.views()

    library.mount()

    assert library.views() == first
    assert len(library.scratch.mounts()) == 1


def test_a_dead_mount_is_known_by_what_the_kernel_cannot_answer_alone(library: Library) -> None:
    library.mount()
    library.mount_point.stat()
    library.kill()
    library.mount_point.stat()  # from memory

    sick = library.icloudfs("doctor", check=False)
    assert f"BAD  mount        {library.mount_point} is dead" in sick.stdout
    assert f"mend it: icloudfs unmount {library.mount_point}" in sick.stdout
    library.mount()
    assert f"{library.mount_point} answers" in library.icloudfs("doctor", check=False).stdout


def test_a_dead_mount_can_be_unmounted(library: Library) -> None:
    library.mount()
    library.kill()

    library.unmount()

    assert not library.is_mounted


def test_mount_returns_when_the_folder_can_be_used(library: Library) -> None:
    library.mount()
    assert library.is_mounted
    assert "Library" in library.views()
    assert library.status()["running"] == (
        f"mounted on {library.mount_point}, process {library.daemon}"
    )
    # It is nobody's child, and no terminal's.
    assert os.getsid(library.daemon) == library.daemon


def test_mount_says_why_not_and_leaves_nothing(library: Library) -> None:
    refused = library.icloudfs("mount", library.mount_point / "nowhere", check=False)

    assert refused.returncode == 7
    assert refused.stderr.startswith("icloudfs: There is no folder ")
    assert len(refused.stderr.splitlines()) == 2
    assert library.scratch.processes() == {}


def test_the_log_of_a_background_mount_is_kept_beside_the_state(library: Library) -> None:
    library.icloudfs("mount", library.mount_point)

    (log,) = library.state.glob("*.log")
    assert f"on {library.mount_point}" in log.read_text()


def test_a_mount_point_may_look_like_an_option(library: Library) -> None:
    library.mount_point = library.mount_point.with_name("--photos")
    library.mount_point.mkdir()

    library.icloudfs("mount", "--", "--photos", cwd=library.mount_point.parent)

    assert library.is_mounted


def test_status_shows_where_it_is_mounted_however_it_was_named(library: Library) -> None:
    library.icloudfs("mount", "photos", cwd=library.mount_point.parent)

    assert f"mounted on {library.mount_point}," in library.icloudfs("status").stdout
