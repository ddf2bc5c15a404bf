"""A folder is complete, or says that it is not: what copies, archives or compares notices."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from icloudfs.errors import ConfigError, Incomplete, MountPointError
from tests.scratch import ICLOUDFS, Scratch, wait_until
from tests.whole.library import Library
from tests.whole.local_icloud import LocalICloud
from tests.whole.terminal import Terminal

PART = "Albums/Holidays"
"""Small and nested."""

EAGAIN = os.strerror(errno.EAGAIN)


def hold_up_the_listing(icloud: LocalICloud) -> None:
    """One list of the first listing is put off for as long as this stands."""
    icloud.control.set_fault("*", "status", call="list:hidden", status=503, retry_after=0.2)


def is_complete(library: Library) -> bool:
    try:
        library.views()
    except BlockingIOError:
        return False
    return True


@pytest.fixture
def unlisted(stranger: Library, signed_in: Library) -> Library:
    """Signed in, and nothing else."""
    stranger.take_state_of(signed_in)
    return stranger


@pytest.fixture
def growing(unlisted: Library, icloud: LocalICloud) -> Iterator[Library]:
    """Mounted, with photos in it, in the middle of its first listing."""
    hold_up_the_listing(icloud)
    begun = unlisted.icloudfs(
        "mount", unlisted.mount_point, "--log-file", unlisted.log, "--interval", "1"
    )
    assert "The folder is mounted, and grows" in begun.stderr and "--wait" in begun.stderr
    wait_until((unlisted.mount_point / PART).is_dir)
    yield unlisted
    icloud.control.clear_faults()


def test_a_backup_that_mirrors_deletes_nothing(
    library: Library, icloud: LocalICloud, scratch: Scratch
) -> None:
    """After ``reset-state`` the folder is empty, and then grows."""
    backup = scratch.folder / "backup"
    backup.mkdir()
    old = backup / "IMG_0001.JPG"
    old.touch()
    library.icloudfs("reset-state", "--yes")
    hold_up_the_listing(icloud)
    library.mount("--interval", "1")
    mirror = "rsync", "-a", "--delete", "--max-size=1", f"{library.mount_point}/", backup

    for _ in range(2):
        done = scratch.run(*mirror, check=False)
        assert done.returncode == 23 and EAGAIN in done.stderr, done
        assert old.exists()
        wait_until((library.mount_point / "Library").is_dir)

    icloud.control.clear_faults()
    wait_until(lambda: is_complete(library), 20)
    scratch.run(*mirror)
    assert not old.exists()


def test_every_program_notices(growing: Library, scratch: Scratch) -> None:
    source, there = growing.mount_point / PART, scratch.folder / "there"
    there.mkdir()
    secrets = {
        "RESTIC_PASSWORD": "a",
        "RESTIC_CACHE_DIR": str(there / "cache"),
        "BORG_BASE_DIR": str(there / "base"),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    }
    restic, borg = ("restic", "--repo", there / "restic"), there / "borg"
    scratch.run(*restic, "init", environment=secrets)
    scratch.run("borg", "init", "--encryption", "none", borg, environment=secrets)
    programs: dict[tuple[str | Path, ...], int] = {
        ("ls", source): 2,
        ("find", source): 1,
        ("du", "-s", source): 1,
        ("cp", "-r", source, there / "copy"): 1,
        ("tar", "-cf", there / "photos.tar", "-C", source, "."): 2,
        (*restic, "backup", source): 3,
        ("borg", "create", f"{borg}::one", source): 1,
        ("python3", "-c", "import os, sys; list(os.scandir(sys.argv[1]))", source): 1,
    }

    for command, code in programs.items():
        done = scratch.run(*command, check=False, environment=secrets)
        said = done.stdout + done.stderr
        assert (done.returncode, EAGAIN.lower() in said.lower()) == (code, True), (command, said)


def test_what_is_there_can_be_read_and_file_managers_show_it(
    growing: Library, scratch: Scratch
) -> None:
    program = """
import os, sys
open("/proc/self/comm", "w").write("nautilus")
print(*(f"{folder}/{name}" for folder, _, names in os.walk(sys.argv[1]) for name in names), sep="\\n")
"""
    shown = scratch.run("python3", "-c", program, growing.mount_point / PART).stdout
    photo = Path(shown.splitlines()[0])
    assert photo.read_bytes() == growing.truth(photo)


def test_it_is_complete_once_listed_and_after_a_restart(
    growing: Library, icloud: LocalICloud
) -> None:
    assert not is_complete(growing)
    assert not growing.status()["complete"]
    assert "Incomplete  directories that may still grow" in growing.icloudfs("status").stdout
    growing.kill()
    left = growing.icloudfs("status").stdout
    assert "the listing was cut off; mount it, or: icloudfs sync" in left and "EAGAIN" not in left
    assert "under way" not in left and ": the process ended\n" in left
    growing.scratch.run("umount", "-l", growing.mount_point)
    growing.mount("--interval", "1")
    assert not is_complete(growing)

    icloud.control.clear_faults()
    wait_until(lambda: is_complete(growing), 20)
    growing.unmount()
    icloud.control.set_fault("*", "status", status=503, retry_after=0.2)
    growing.mount("--interval", "1")
    assert is_complete(growing) and list(growing.files())
    assert growing.status()["complete"]
    assert "Incomplete" not in growing.icloudfs("status").stdout


def test_commands_say_that_there_may_be_more(growing: Library) -> None:
    mine = growing.mount_point.parent / "mine"
    mine.mkdir()
    (mine / "IMG_0001.JPG").write_bytes(b"none of the library's, as far as is known")

    for command, told in {
        ("list",): "not listed to its end",
        ("list", "libraries", "--json"): "not listed to its end",
        ("import-existing", "-d", mine): "what matches nothing may be in it all the same",
        ("cache", "prefetch", PART): "more may belong there",
    }.items():
        done = growing.icloudfs(*command, check=False)
        assert done.returncode == Incomplete.exit_code and done.stdout, done
        assert told in done.stderr, done
    refused = growing.icloudfs("cache", "prefetch", "Albums/To come", check=False)
    assert refused.returncode == ConfigError.exit_code
    assert "It is not listed to its end yet, so that may come." in refused.stderr


def test_a_mount_without_a_sign_in_says_so(library: Library) -> None:
    library.icloudfs("logout")
    mount = "mount", library.mount_point, "--log-file", library.log
    assert "It is mounted, but nobody is signed in" in library.icloudfs(*mount).stderr
    assert is_complete(library)


# -- waiting for it --------------------------------------------------------------------------------


def waiting(library: Library) -> subprocess.Popen[str]:
    """``mount --wait`` at work, the folder mounted."""
    command: list[str | Path] = ["mount", library.mount_point, "--log-file", library.log, "--wait"]
    pipe = subprocess.PIPE
    mounting = library.scratch.start(
        ICLOUDFS, *command, environment=library.environment, stdout=pipe, stderr=pipe
    )
    wait_until(lambda: library.is_mounted or mounting.poll() is not None, 20)
    return mounting


def test_a_script_can_wait_for_it(unlisted: Library, icloud: LocalICloud) -> None:
    hold_up_the_listing(icloud)
    mounting = waiting(unlisted)
    wait_until((unlisted.mount_point / "Library").is_dir)
    assert mounting.poll() is None and not is_complete(unlisted)
    icloud.control.clear_faults()
    said = mounting.communicate(timeout=20)
    assert (mounting.returncode, *said) == (0, "", "")
    assert is_complete(unlisted)

    unlisted.unmount()
    mounting = waiting(unlisted)
    mounting.communicate(timeout=20)
    assert mounting.returncode == 0


def test_a_script_can_wait_for_one_that_is_mounted_already(
    growing: Library, icloud: LocalICloud
) -> None:
    mounting = waiting(growing)
    with pytest.raises(subprocess.TimeoutExpired):
        mounting.wait(1.0)
    assert not is_complete(growing)
    icloud.control.clear_faults()
    said = mounting.communicate(timeout=20)
    assert (mounting.returncode, *said) == (0, "", "")
    assert is_complete(growing)

    again = growing.icloudfs("mount", growing.mount_point, "--wait")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_who_waits_for_one_that_is_mounted_hears_of_its_end(growing: Library) -> None:
    mounting = waiting(growing)
    with pytest.raises(subprocess.TimeoutExpired):
        mounting.wait(1.0)
    growing.unmount()
    _, complaint = mounting.communicate(timeout=20)
    assert mounting.returncode == MountPointError.exit_code
    assert complaint == "icloudfs: The daemon ended before everything was listed.\n"


def test_a_script_hears_what_is_missing_for_now(unlisted: Library, icloud: LocalICloud) -> None:
    icloud.control.set_fault("*", "answer", call="albums", way="403")
    mounting = waiting(unlisted)
    _, complaint = mounting.communicate(timeout=20)
    assert mounting.returncode == 16
    assert (
        "It is mounted, but iCloud refuses to give the list of albums of PrimarySync" in complaint
    )
    assert unlisted.is_mounted

    again = unlisted.icloudfs("mount", unlisted.mount_point, "--wait", check=False)
    assert (again.returncode, again.stderr) == (16, complaint)


def test_at_a_terminal(unlisted: Library, icloud: LocalICloud) -> None:
    """Progress is shown, and Ctrl-C leaves it to the daemon."""
    hold_up_the_listing(icloud)
    command: list[str | Path] = [
        ICLOUDFS,
        "mount",
        unlisted.mount_point,
        "--log-file",
        unlisted.log,
    ]
    environment = unlisted.scratch.environment | unlisted.environment | {"TERM": "xterm"}
    with Terminal(command, environment) as terminal:
        terminal.expect("Until it is done, backups")
        terminal.expect("Ctrl-C leaves it to the daemon")
        terminal.expect("listing")
        terminal.press("\x03")
        terminal.expect("It goes on without you")
        assert terminal.end() == 0
    assert unlisted.daemon and not is_complete(unlisted)

    with Terminal(command, environment) as terminal:
        terminal.expect("Ctrl-C leaves it to the daemon")
        terminal.press("\x03")  # as soon as it is offered
        terminal.expect("It goes on without you")
        assert terminal.end() == 0

    icloud.control.clear_faults()
    wait_until(lambda: is_complete(unlisted), 20)
    with Terminal([*command, "--wait"], environment) as terminal:
        terminal.expect("Everything is listed.")
        assert terminal.end() == 0
    assert "grows" not in terminal.shown
    unlisted.unmount()
    with Terminal(command, environment) as terminal:
        assert terminal.end() == 0
    assert terminal.shown == ""
