"""What sync changes is heard of by whoever watches, and stays refused to whoever tries it (DESIGN §7)."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio

from icloudfs.mount import live, unmounting
from icloudfs.mount.acting import Acting
from icloudfs.mount.replay import Stage
from icloudfs.state.database import connect
from icloudfs.tree.changes import Change, EntryRemoved, InodeChanged
from icloudfs.tree.directory import ROOT as ROOT_INO
from icloudfs.tree.directory import Directory
from icloudfs.tree.numbers import FIRST_DIRECTORY
from tests import watcher
from tests.mount.library import FIRST_INO, TAKEN, Library, bytes_of
from tests.mount.mounted import (
    OTHER,
    OWNER,
    ROOT,
    Mount,
    User,
    interpreter,
    is_mounted,
    names,
    no_state,
    wait_until,
)
from tests.watching import Watching

PHOTO = FIRST_INO
ALBUM = FIRST_DIRECTORY
OTHER_ALBUM = FIRST_DIRECTORY + 1
INSIDE = FIRST_INO + 1


class Watch(Watching):
    """A process that watches folders or files of a mount."""

    def __init__(self, *places: Path, user: User = ROOT) -> None:
        process = user.popen(
            [interpreter(user.name), "-I", "-S", "-", *map(str, places)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(Path(watcher.__file__).read_text())
        process.stdin.close()
        super().__init__(process)

    def hears(self, *events: str) -> None:
        """Wait until exactly these events have been heard, in this order; then begin anew."""
        try:
            wait_until(lambda: len(self.heard) >= len(events))
        except AssertionError:
            pytest.fail(f"heard only {self.heard}")
        time.sleep(0.1)  # for what must not come
        assert self.heard == list(events)
        self.heard.clear()


def fill(library: Library) -> None:
    """photo, album/inside, other/."""
    assert library.file(ROOT_INO, "photo", 300_000, checksum="before") == PHOTO
    assert library.directory(ROOT_INO, "album") == ALBUM
    assert library.directory(ROOT_INO, "other") == OTHER_ALBUM
    assert library.file(ALBUM, "inside") == INSIDE
    library.file(OTHER_ALBUM, "in other")
    library.close()


@pytest.fixture
def mount(library: Library, place: Path) -> Iterator[Mount]:
    fill(library)
    with Mount(library.path, place / "mnt", heartbeat=True) as mount:
        yield mount
        if mount.process.poll() is None:
            # Nothing of a replay keeps the mount busy, and nothing of it is worth a warning.
            assert "Traceback" not in mount.log.read_text()
            assert "WARNING" not in mount.log.read_text()
            assert mount.stop() == 0


def insert(parent: int, name: str, ino: int) -> str:
    return f"INSERT INTO dirent VALUES ({parent}, CAST('{name}' AS BLOB), {ino})"


def delete(parent: int, name: str) -> str:
    return f"DELETE FROM dirent WHERE parent = {parent} AND name = CAST('{name}' AS BLOB)"


def links(ino: int, count: int) -> str:
    return f"UPDATE inode SET nlink = {count} WHERE ino = {ino}"


def new_file(ino: int) -> str:
    return (
        f"INSERT INTO inode SELECT {ino}, mode, 77, mtime, ctime, 1, asset, rendition, checksum"
        f" FROM inode WHERE ino IN ({PHOTO}, {INSIDE}) ORDER BY ino LIMIT 1"
    )


def new_directory(ino: int) -> str:
    return (
        "INSERT INTO inode SELECT"
        f" {ino}, mode, size, mtime, ctime, 2, NULL, NULL, NULL FROM inode WHERE ino = {ALBUM}"
    )


def gone(ino: int) -> str:
    return f"DELETE FROM inode WHERE ino = {ino}"


NEW = FIRST_INO + 100
NEW_DIRECTORY = FIRST_DIRECTORY + 100


def add(mount: Mount, parent: int = ROOT_INO, name: str = "new", ino: int = NEW) -> None:
    """A photo comes."""
    mount.tell(
        "change",
        sql=[new_file(ino), insert(parent, name, ino)],
        changes=[["added", parent, name, ino], ["changed", parent]],
    )


def test_a_photo_comes(mount: Mount) -> None:
    assert not (mount.path / "new").exists()
    before = mount.path.stat().st_mtime
    with Watch(mount.path) as watch:
        add(mount)
        watch.hears("0 CREATE new")
    found = (mount.path / "new").stat()
    assert (found.st_ino, found.st_size, found.st_nlink) == (NEW, 77, 1)
    assert (found.st_mtime, found.st_mode & 0o777) == (TAKEN, 0o644)
    assert mount.path.stat().st_mtime == before  # as the database has it, not the kernel's own now
    mount.tell("asked")
    for _ in range(100):
        (mount.path / "new").stat()
    assert mount.asked("lookup") == 0  # it has the usual lifetime


def test_a_photo_goes(mount: Mount) -> None:
    with Watch(mount.path, mount.path / "photo") as watch:
        mount.tell(
            "change",
            sql=[delete(ROOT_INO, "photo"), gone(PHOTO)],
            changes=[["removed", ROOT_INO, "photo", PHOTO]],
        )
        wait_until(lambda: len(watch.heard) >= 3)
        assert sorted(watch.heard) == ["0 DELETE photo", "1 ATTRIB", "1 DELETE_SELF"]
    assert not (mount.path / "photo").exists()
    assert "photo" not in names(mount.path)


def test_a_photo_goes_that_the_kernel_has_forgotten(mount: Mount) -> None:
    with Watch(mount.path) as watch:
        Path("/proc/sys/vm/drop_caches").write_text("2")
        mount.tell(
            "change",
            sql=[delete(ROOT_INO, "photo"), gone(PHOTO)],
            changes=[["removed", ROOT_INO, "photo", PHOTO]],
        )
        watch.hears("0 DELETE photo")


def test_two_places_of_three_go(mount: Mount) -> None:
    """Watchers of the file hear that its links are fewer, never that it was deleted."""
    for parent, name in ((ALBUM, "2nd"), (OTHER_ALBUM, "3rd")):
        mount.tell(
            "change",
            sql=[
                insert(parent, name, PHOTO),
                f"UPDATE inode SET nlink = nlink + 1 WHERE ino = {PHOTO}",
            ],
            changes=[["added", parent, name, PHOTO], ["changed", PHOTO]],
        )
    folders = [mount.path, mount.path / "album", mount.path / "other"]
    for folder in folders:
        names(folder)
    assert (mount.path / "photo").stat().st_nlink == 3
    with Watch(*folders, mount.path / "photo") as watch:
        mount.tell(
            "change",
            sql=[delete(ROOT_INO, "photo"), delete(ALBUM, "2nd"), links(PHOTO, 1)],
            changes=[
                ["removed", ROOT_INO, "photo", PHOTO],
                ["removed", ALBUM, "2nd", PHOTO],
                ["changed", PHOTO],
            ],
        )
        wait_until(lambda: "2 ATTRIB 3rd" in watch.heard)
        assert {"0 DELETE photo", "1 DELETE 2nd"} < set(watch.heard)
        assert "3 DELETE_SELF" not in watch.heard
    assert (mount.path / "other/3rd").stat().st_nlink == 1


def test_a_name_changes(mount: Mount) -> None:
    assert not (mount.path / "better").exists()
    with Watch(mount.path) as watch:
        mount.tell(
            "change",
            sql=[delete(ROOT_INO, "photo"), insert(ROOT_INO, "better", PHOTO)],
            changes=[["removed", ROOT_INO, "photo", PHOTO], ["added", ROOT_INO, "better", PHOTO]],
        )
        watch.hears("0 MOVED_FROM photo", "0 MOVED_TO better")
    assert (mount.path / "better").stat().st_ino == PHOTO
    assert not (mount.path / "photo").exists()


def test_an_album_is_renamed_and_moved(mount: Mount) -> None:
    """Whoever is in it stays in it."""
    here = os.open(mount.path / "album", os.O_RDONLY)
    with Watch(mount.path, mount.path / "album", mount.path / "other") as watch:
        mount.tell(
            "change",
            sql=[
                delete(ROOT_INO, "album"),
                new_directory(NEW_DIRECTORY),
                insert(ROOT_INO, "folder", NEW_DIRECTORY),
                insert(NEW_DIRECTORY, "alps", ALBUM),
                new_file(NEW),
                insert(ALBUM, "new", NEW),
            ],
            changes=[
                ["removed", ROOT_INO, "album", ALBUM],
                ["added", ROOT_INO, "folder", NEW_DIRECTORY],
                ["added", NEW_DIRECTORY, "alps", ALBUM],
                ["added", ALBUM, "new", NEW],
            ],
        )
        watch.hears("0 CREATE folder", "0 MOVED_FROM album", "1 MOVE_SELF", "1 CREATE new")
        assert Path(f"/proc/self/fd/{here}").readlink() == mount.path / "folder/alps"
    assert sorted(entry.name for entry in os.scandir(here)) == ["inside", "new"]
    os.close(here)
    assert names(mount.path / "folder") == ["alps"]
    assert not (mount.path / "album").exists()


def test_two_names_are_swapped(mount: Mount) -> None:
    add(mount, name="second")
    with Watch(mount.path) as watch:
        mount.tell(
            "change",
            sql=[
                delete(ROOT_INO, "photo"),
                delete(ROOT_INO, "second"),
                insert(ROOT_INO, "photo", NEW),
                insert(ROOT_INO, "second", PHOTO),
            ],
            changes=[
                ["removed", ROOT_INO, "photo", PHOTO],
                ["removed", ROOT_INO, "second", NEW],
                ["added", ROOT_INO, "photo", NEW],
                ["added", ROOT_INO, "second", PHOTO],
            ],
        )
        watch.hears("0 DELETE photo", "0 DELETE second", "0 CREATE photo", "0 CREATE second")
    assert (mount.path / "photo").stat().st_ino == NEW
    assert (mount.path / "second").stat().st_ino == PHOTO
    assert (mount.path / "photo").stat().st_nlink == 1


def remove_album(mount: Mount) -> None:
    mount.tell(
        "change",
        sql=[delete(ALBUM, "inside"), gone(INSIDE), delete(ROOT_INO, "album"), gone(ALBUM)],
        changes=[["removed", ALBUM, "inside", INSIDE], ["removed", ROOT_INO, "album", ALBUM]],
    )


def test_an_album_goes_and_comes_back_while_somebody_is_in_it(mount: Mount) -> None:
    inside = os.open(mount.path / "album", os.O_RDONLY)
    with Watch(mount.path, mount.path / "album") as watch:
        remove_album(mount)
        watch.hears("1 DELETE inside", "0 DELETE album")
        assert not (mount.path / "album").exists()
        mount.tell(
            "change",
            sql=[
                f"INSERT INTO inode SELECT {ALBUM}, mode, size, mtime, ctime, 2, NULL, NULL, NULL"
                f" FROM inode WHERE ino = {OTHER_ALBUM}",
                insert(ROOT_INO, "album", ALBUM),
                new_file(NEW),
                insert(ALBUM, "new", NEW),
            ],
            changes=[["added", ROOT_INO, "album", ALBUM], ["added", ALBUM, "new", NEW]],
        )
        wait_until(lambda: "0 CREATE album" in watch.heard)
    assert names(mount.path / "album") == ["new"]
    assert (mount.path / "album").stat().st_ino == ALBUM
    assert len((mount.path / "album/new").read_bytes()) == 77
    with Watch(mount.path / "album") as watch:
        add(mount, ALBUM, "another", NEW + 1)
        watch.hears("0 CREATE another")
    os.close(inside)


def test_attributes_and_content_change(mount: Mount) -> None:
    link = insert(ALBUM, "again", PHOTO)
    mount.tell("change", sql=[link, links(PHOTO, 2)], changes=[["added", ALBUM, "again", PHOTO]])
    names(mount.path / "album")
    assert (mount.path / "photo").read_bytes() == bytes_of("before", 300_000)
    with Watch(mount.path, mount.path / "album") as watch:
        mount.tell(
            "change",
            sql=[f"UPDATE inode SET mtime = 1000 WHERE ino = {PHOTO}"],
            changes=[["changed", PHOTO]],
        )
        wait_until(lambda: len(watch.heard) == 2)
        assert sorted(watch.heard) == ["0 ATTRIB photo", "1 ATTRIB again"]
        assert (mount.path / "photo").stat().st_mtime == 1000
        watch.heard.clear()
        mount.tell(
            "change",
            sql=[f"UPDATE inode SET size = 200000, checksum = 'after' WHERE ino = {PHOTO}"],
            changes=[["changed", PHOTO, True]],
        )
        wait_until(lambda: len(watch.heard) == 4)
        assert sorted(watch.heard) == [
            "0 CLOSE_WRITE photo",
            "0 MODIFY photo",
            "1 CLOSE_WRITE again",
            "1 MODIFY again",
        ]
    assert (mount.path / "photo").stat().st_size == 200_000
    assert (mount.path / "photo").read_bytes() == bytes_of("after", 200_000)


def test_bytes_that_proved_wrong_are_dropped_quietly(mount: Mount) -> None:
    """Or a thumbnailer would read them again, and cause the next download, for ever."""
    assert (mount.path / "photo").read_bytes() == bytes_of("before", 300_000)
    with Watch(mount.path) as watch:
        mount.tell("asked")
        mount.tell("change", sql=[], changes=[["changed", PHOTO, True, True]])
        assert (mount.path / "photo").read_bytes() == bytes_of("before", 300_000)
        assert mount.asked("read") > 0
        add(mount)
        watch.hears("0 CREATE new")


def test_folders_that_nobody_looked_at_cost_nothing(mount: Mount) -> None:
    mount.tell("asked")
    add(mount, OTHER_ALBUM)
    assert not mount.tell("asked").keys() - {"forget"}
    assert (mount.path / "other/new").exists()


def test_what_another_process_looks_up_all_the_time(mount: Mount) -> None:
    """It may meet the new name first: then it is not heard of, perhaps, and right all the same."""
    looking = subprocess.Popen(
        ["sh", "-c", f"while :; do test -e {mount.path}/new; test -e {mount.path}/photo; done"]
    )
    try:
        for _ in range(50):
            add(mount)
            assert (mount.path / "new").stat().st_nlink == 1
            mount.tell(
                "change",
                sql=[delete(ROOT_INO, "new"), gone(NEW)],
                changes=[["removed", ROOT_INO, "new", NEW]],
            )
            assert not (mount.path / "new").exists()
    finally:
        looking.kill()
        looking.wait()


MANY = 20_000


def test_a_first_listing_is_not_slowed_down(mount: Mount) -> None:
    with Watch(mount.path, mount.path / "album") as watch:
        numbers = range(MANY)
        add(mount, name="warm up")
        watch.hears("0 CREATE warm up")
        mount.tell("longest_gap")
        start = time.monotonic()
        mount.tell(
            "change",
            sql=[
                f"WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY - 1})"
                f" INSERT INTO dirent SELECT {ALBUM}, CAST('many ' || i AS BLOB), {NEW + 10} + i FROM n",
                "INSERT INTO inode SELECT d.ino, i.mode, 1, 1, 1, 1, NULL, NULL, NULL"
                f" FROM dirent d, inode i WHERE i.ino = {PHOTO} AND d.ino >= {NEW + 10} AND d.ino < {ALBUM}",
                new_file(NEW + 1),
                insert(ROOT_INO, "one", NEW + 1),
            ],
            changes=[["added", ALBUM, f"many {i}", NEW + 10 + i] for i in numbers]
            + [["added", ROOT_INO, "one", NEW + 1]],
        )
        took = time.monotonic() - start
        # One event for the crowded folder; the other is told what came.
        watch.hears("0 CREATE one", "0 ATTRIB album", "1 ATTRIB")
        assert took < MANY * 0.0002, f"{took:.2f} s"
        assert len(names(mount.path / "album")) == MANY + 1


def test_the_budget_is_for_bursts_and_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("trio.current_time", lambda: now)
    budget = live._Budget()
    assert budget.crowded([1] * live.AT_ONCE + [2] * 10) == {1}
    assert budget.crowded([1] * (live.AT_ONCE - 10)) == set()
    assert budget.crowded([1]) == {1}
    now = 1.0
    assert budget.crowded([1] * live.A_SECOND) == set()
    assert budget.crowded([1]) == {1}


ATTEMPTS = """
import errno, os, sys, threading
place, ready = sys.argv[1], threading.Barrier(5)
bad = []
def attempt(call):
    ready.wait()
    for _ in range(300):
        try:
            call()
            bad.append(f"{call} was done")
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EEXIST, errno.ENOENT):
                bad.append(repr(error))
calls = [
    lambda: os.mknod(place + "/new"),
    lambda: os.unlink(place + "/new"),
    lambda: os.rename(place + "/new", place + "/stolen"),
    lambda: os.utime(place + "/photo", (1, 1)),
    lambda: os.close(os.open(place + "/photo", os.O_WRONLY)),
]
threads = [threading.Thread(target=attempt, args=(call,)) for call in calls]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(bad or "refused")
"""


@pytest.mark.parametrize("user", [ROOT, OWNER], ids=lambda user: user.name)
def test_everybody_else_is_refused_meanwhile(library: Library, place: Path, user: User) -> None:
    fill(library)
    with Mount(library.path, place / "mnt", user=user) as mount:
        answers: list[str] = []
        others = threading.Thread(
            target=lambda: answers.append(user.python(ATTEMPTS, str(mount.path)))
        )
        others.start()
        while others.is_alive():
            add(mount)
            mount.tell(
                "change",
                sql=["UPDATE inode SET ctime = ctime + 1"],
                changes=[["changed", PHOTO, True]],
            )
            mount.tell(
                "change",
                sql=[delete(ROOT_INO, "new"), gone(NEW)],
                changes=[["removed", ROOT_INO, "new", NEW]],
            )
        others.join()
        assert answers == ["refused"]
        assert mount.stop() == 0


def test_the_very_call_is_refused_from_anybody_else(mount: Mount) -> None:
    """The step is on stage, and somebody else comes with it."""
    mount.tell("hold", handlers=["mknod"])
    with Watch(mount.path) as watch:
        adding = threading.Thread(target=add, args=(mount,))
        adding.start()
        wait_until(lambda: "mknod is held" in mount.log.read_text())
        # In another directory, since the kernel keeps this one to whoever is at it.
        attempts: list[Callable[[], object]] = [
            lambda: (mount.path / "album/new").mkdir(),
            lambda: (mount.path / "album/inside").unlink(),
            lambda: os.utime(mount.path / "photo"),
        ]
        for attempt in attempts:
            with pytest.raises(OSError) as refused:
                attempt()
            assert refused.value.errno == errno.EROFS
        os.kill(mount.process.pid, signal.SIGUSR1)
        adding.join()
        watch.hears("0 CREATE new")


def test_an_ordinary_users_folders_are_live(library: Library, place: Path) -> None:
    fill(library)
    with Mount(library.path, place / "mnt", user=OWNER) as mount:
        with Watch(mount.path, user=OWNER) as watch:
            add(mount)
            watch.hears("0 CREATE new")
        assert mount.stop() == 0


@pytest.mark.parametrize(("user", "shown"), [(ROOT, True), (OWNER, False)], ids=["root", "owner"])
def test_folders_of_a_mount_that_is_shown_as_read_only_are_live(
    library: Library, place: Path, user: User, shown: bool
) -> None:
    """An ordinary user's is not shown so: fusermount3 could only have the whole filesystem so."""
    fill(library)
    with Mount(library.path, place / "mnt", user=user) as mount:
        flags = "import os, sys; print(bool(os.statvfs(sys.argv[1]).f_flag & os.ST_RDONLY))"
        assert user.python(flags, str(mount.path)) == str(shown)
        with Watch(mount.path, mount.path / "album", user=user) as watch:
            mount.tell(
                "change",
                sql=[delete(ROOT_INO, "photo"), insert(ALBUM, "moved", PHOTO)],
                changes=[["removed", ROOT_INO, "photo", PHOTO], ["added", ALBUM, "moved", PHOTO]],
            )
            watch.hears("0 MOVED_FROM photo", "1 MOVED_TO moved")
        subprocess.run(["umount", mount.path], check=True)
        assert mount.process.wait(10) == 0  # nothing of the mount is left, anywhere


def test_private_folders_are_live_and_stay_private(
    library: Library, place: Path, _user_allow_other: None
) -> None:
    hidden = library.directory(ROOT_INO, "Hidden", 0o700)
    library.file(ROOT_INO, "photo")
    secret = library.file(hidden, "secret", mode=0o600)
    library.close()
    with Mount(library.path, place / "mnt", user=OWNER, allow_other=True, umask=0o027) as mount:
        with Watch(mount.path, mount.path / "Hidden", user=OWNER) as watch:
            add(mount, hidden)
            watch.hears("1 CREATE new")
            mount.tell(
                "change",
                sql=[delete(ROOT_INO, "photo"), insert(hidden, "photo", PHOTO)],
                changes=[["removed", ROOT_INO, "photo", PHOTO], ["added", hidden, "photo", PHOTO]],
            )
            watch.hears("0 DELETE photo", "1 CREATE photo")
            mount.tell(
                "change",
                sql=[delete(hidden, "secret"), gone(secret)],
                changes=[["removed", hidden, "secret", secret]],
            )
            watch.hears("1 DELETE secret")
        for name in ("new", "photo", "secret"):
            assert OTHER.run("stat", str(mount.path / "Hidden" / name)).returncode != 0
        assert OWNER.run("stat", str(mount.path / "Hidden/photo")).returncode == 0
        assert mount.stop() == 0


def held(mount: Mount, handler: str = "mknod") -> threading.Thread:
    """A replay that waits in the middle of its call for the daemon's answer."""
    names(mount.path)
    mount.tell("hold", handlers=[handler])
    adding = threading.Thread(target=add, args=(mount,))
    adding.start()
    wait_until(lambda: f"{handler} is held" in mount.log.read_text())
    return adding


def test_killed_in_the_middle_of_a_replay(library: Library, place: Path) -> None:
    """A daemon that waited for itself could not be killed, and everybody would hang with it."""
    fill(library)
    with Mount(library.path, place / "mnt") as mount:
        adding = held(mount)
        actor = _only_child(mount.process.pid)
        assert mount.stop(signal.SIGKILL) == -signal.SIGKILL
        adding.join()
        with pytest.raises(OSError) as dead:
            mount.path.stat()
        assert dead.value.errno == errno.ENOTCONN
        wait_until(lambda: not Path(f"/proc/{actor}").exists())


def test_a_folder_that_is_busy_keeps_nobody_else(mount: Mount) -> None:
    """Somebody's look-up has not been answered, and the kernel keeps its folder locked meanwhile."""
    names(mount.path / "other")
    with Watch(mount.path / "album") as watch:
        mount.tell("hold", handlers=["lookup"])
        looking = subprocess.Popen(["test", "-e", mount.path / "album/unknown"])
        wait_until(lambda: "lookup is held" in mount.log.read_text())
        adding = threading.Thread(target=add, args=(mount, ALBUM))
        adding.start()
        time.sleep(0.3)
        assert adding.is_alive()
        assert names(mount.path / "other") == ["in other"]
        os.kill(mount.process.pid, signal.SIGUSR1)
        adding.join()
        watch.hears("0 CREATE new")
    assert looking.wait() == 1
    assert mount.tell("longest_gap") < 0.2


def test_a_busy_folder_does_not_keep_the_mount(library: Library, place: Path) -> None:
    fill(library)
    with Mount(library.path, place / "mnt") as mount:
        names(mount.path)
        mount.tell("hold", handlers=["lookup"])
        looking = subprocess.Popen(["test", "-e", mount.path / "unknown"])
        wait_until(lambda: "lookup is held" in mount.log.read_text())
        adding = threading.Thread(target=add, args=(mount,))
        adding.start()
        assert mount.stop() == 0
        assert not is_mounted(mount.path)
        adding.join()
        looking.wait()


@pytest.mark.parametrize("signals", [1, 2])
def test_told_to_end_in_the_middle_of_a_replay(library: Library, place: Path, signals: int) -> None:
    fill(library)
    with Mount(library.path, place / "mnt") as mount:
        adding = held(mount)
        actor = _only_child(mount.process.pid)
        for _ in range(signals):
            mount.process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        # The actor's way is one of its own, so the first signal unmounts at once; the second may meet a
        # process that has nothing to do any more but to end.
        assert mount.process.wait(10) in (0, -signal.SIGTERM)
        adding.join()
        assert not is_mounted(mount.path)
        wait_until(lambda: not Path(f"/proc/{actor}").exists())


def test_an_actor_that_is_lost_is_replaced(library: Library, place: Path) -> None:
    fill(library)
    with Mount(library.path, place / "mnt") as mount:
        adding = held(mount)
        os.kill(_only_child(mount.process.pid), signal.SIGKILL)
        os.kill(mount.process.pid, signal.SIGUSR1)
        adding.join()
        assert (mount.path / "new").stat().st_ino == NEW  # told by a notice
        mount.tell("hold", handlers=[])
        with Watch(mount.path) as watch:
            add(mount, name="next", ino=NEW + 1)
            watch.hears("0 CREATE next")
        assert mount.stop() == 0


def test_an_actor_that_hangs_is_not_waited_for(library: Library, place: Path) -> None:
    fill(library)
    with Mount(library.path, place / "mnt", actor_deadline=0.3) as mount:
        with Watch(mount.path) as watch:
            add(mount)
            watch.hears("0 CREATE new")
            actor = _only_child(mount.process.pid)
            os.kill(actor, signal.SIGSTOP)
            start = time.monotonic()
            mount.tell(
                "change",
                sql=[
                    sql
                    for i in range(1, 50)
                    for sql in (new_file(NEW + i), insert(ROOT_INO, f"{i}", NEW + i))
                ],
                changes=[["added", ROOT_INO, f"{i}", NEW + i] for i in range(1, 50)],
            )
            assert time.monotonic() - start < 2  # for the first one, and not for each
            assert (mount.path / "49").exists()
            wait_until(lambda: not Path(f"/proc/{actor}").exists())
            time.sleep(1)
            add(mount, name="heard", ino=NEW + 50)
            watch.hears("0 CREATE heard")
        assert mount.stop() == 0


def test_nothing_is_done_to_what_lies_over_the_mount(mount: Mount) -> None:
    names(mount.path)
    subprocess.run(["mount", "-t", "tmpfs", "over it", mount.path], check=True)
    try:
        (mount.path / "photo").write_bytes(b"somebody's own")
        mount.tell(
            "change",
            sql=[delete(ROOT_INO, "photo"), gone(PHOTO)],
            changes=[["removed", ROOT_INO, "photo", PHOTO]],
        )
        add(mount)
        assert names(mount.path) == ["photo"]
        assert (mount.path / "photo").read_bytes() == b"somebody's own"
    finally:
        subprocess.run(["umount", mount.path], check=True)
    assert (mount.path / "new").exists()
    assert not (mount.path / "photo").exists()


def test_it_can_be_unmounted_between_any_two_replays(mount: Mount) -> None:
    add(mount)
    assert mount.tell("asked")["mknod"] == 1
    descriptors = Path(f"/proc/{_only_child(mount.process.pid)}/fd")
    kept = [str(descriptor.readlink()) for descriptor in descriptors.iterdir()]
    assert not [path for path in kept if str(mount.path) in path or "fuse" in path]
    subprocess.run(["fusermount3", "-u", mount.path], check=True)
    assert mount.process.wait(10) == 0


def test_it_can_be_unmounted_while_much_is_replayed(mount: Mount) -> None:
    names(mount.path)
    inos = range(NEW, NEW + live.AT_ONCE - 1)
    adding = threading.Thread(
        target=mount.tell,
        args=("change",),
        kwargs={
            "sql": [
                sql for ino in inos for sql in (new_file(ino), insert(ROOT_INO, f"{ino}", ino))
            ],
            "changes": [["added", ROOT_INO, f"{ino}", ino] for ino in inos],
        },
    )
    adding.start()
    wait_until((mount.path / f"{NEW + 5}").exists)
    trio.run(unmounting.unmount, mount.path, no_state)
    assert mount.process.wait(10) == 0
    adding.join()


def test_what_cannot_be_done_ends_nothing(mount: Mount) -> None:
    names(mount.path)
    mount.tell(
        "change",
        sql=[],
        changes=[
            ["added", ROOT_INO, "never was", NEW],
            ["removed", ROOT_INO, "never there", NEW + 1],
            ["removed", ROOT_INO, "no folder", NEW_DIRECTORY],
            ["added", NEW_DIRECTORY, "nowhere", NEW],
            ["changed", NEW, True],
        ],
    )
    assert not (mount.path / "never was").exists()
    assert (mount.path / "photo").exists()


async def test_a_state_that_cannot_be_read_is_told_in_a_sentence(
    library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    fill(library)
    with closing(connect(library.path, write=False)) as connection:
        library.path.write_bytes(bytes(library.path.stat().st_size))
        stage = Stage()
        replayed = live.Live(Directory(connection), stage, Acting(stage))
        changes: list[Change] = [EntryRemoved(ROOT_INO, b"photo", PHOTO), InodeChanged(PHOTO, True)]
        assert not await replayed.replay_entries(changes)
        await replayed.replay_attributes(changes)
    assert "is damaged" in caplog.text
    assert "Traceback" not in caplog.text


def _only_child(process: int) -> int:
    threads = Path(f"/proc/{process}/task").iterdir()
    (child,) = [child for it in threads for child in (it / "children").read_text().split()]
    return int(child)
