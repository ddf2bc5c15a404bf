"""Any story ends in the folder of a fresh account (issue 3's property), with the real daemon: random actions
on the phone, faults, readers, disks that fail or stand still, power cuts and ``kill -9``.
``tests/sync/comparing.py`` lists the exceptions.

A run is its seed. ``ICLOUDFS_STORY_RUNS=200 ICLOUDFS_RANDOM_SEED=1`` does more of them;
``ICLOUDFS_STORY_DISK=xfs`` on a file system that loses more in a power cut than ext4, ``none`` without cuts.
"""

from __future__ import annotations

import os
import random
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw
import pytest

from icloudfs.demo.check import check
from icloudfs.state.database import connect
from icloudfs.tree.directory import ROOT
from tests.image_disk import ImageDisk, Kind
from tests.scratch import Scratch, wait_until
from tests.sync.comparing import (
    Entries,
    Namesakes,
    assert_same_entries,
    assert_same_records,
    assert_same_tree,
)
from tests.whole.library import Library
from tests.whole.local_icloud import LocalICloud
from tests.whole.story import AT_ONCE, Story, settings

_RUNS = int(os.environ.get("ICLOUDFS_STORY_RUNS", "3"))
_DISKS: dict[str, Kind | None] = {"ext4": "ext4", "xfs": "xfs", "none": None}
_DISK = _DISKS[os.environ.get("ICLOUDFS_STORY_DISK", "ext4")]
_FIRST = int(os.environ.get("ICLOUDFS_RANDOM_SEED", "1"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(_FIRST, _FIRST + _RUNS))


def test_any_story_ends_in_the_folder_of_a_fresh_account(scratch: Scratch, seed: int) -> None:
    print(f"\nseed {seed}")
    assets = random.Random(f"library {seed}").choice([0, 12, 25, 40])
    icloud = LocalICloud(scratch, "--seed", str(seed), assets=assets)
    try:
        _tell_of(icloud, scratch, seed)
    finally:
        icloud.stop()


def _tell_of(icloud: LocalICloud, scratch: Scratch, seed: int) -> None:
    """With an account that is mounted twice: by whom all of it happens to, and by who comes last."""
    signed_in = Library(icloud, scratch, "signed-in")
    signed_in.login()
    with _a_disk(scratch) as disk:
        home, fresh = (Library(icloud, scratch, name) for name in ("home", "fresh"))
        for library in (home, fresh):
            library.take_state_of(signed_in)
            library.environment |= settings(seed)
        with _explained(seed, home):
            try:
                _tell(home, fresh, disk, seed)
            finally:
                home.end()
                fresh.end()


@contextmanager
def _a_disk(scratch: Scratch) -> Iterator[ImageDisk | None]:
    """That home is on, mounted; None if there is to be none of its own."""
    if _DISK is None:
        yield None
        return
    disk = ImageDisk(scratch.folder / "disk", scratch.folder / "home", _DISK)
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()


def _tell(home: Library, fresh: Library, disk: ImageDisk | None, seed: int) -> None:
    began = time.monotonic()
    # What one has before anything happens; from here on nothing is waited for.
    home.scratch.run("sync", "--file-system", home.state)
    story = Story(home, disk, seed)
    story.happen()

    home.sync()
    fresh.sync()
    fresh.mount()

    _assert_the_kernel_knows(home, {path for reader in story.readers for path in reader.seen})
    _assert_same_mount(_nodes(home), _nodes(fresh), story.person.known)
    with _databases(home, fresh) as (here, there):
        assert_same_tree(here, there, story.person.known)
        assert_same_records(here, there)
    assert check(home.mount_point, home.icloud.url).differences == []
    with _databases(home) as (here,):
        assert _failed(here) == []
    home.icloudfs("verify", "--checksums")
    assert _unforeseen(home) == []
    print(f"  {story.figures()}, {time.monotonic() - began:.1f} seconds")


@contextmanager
def _explained(seed: int, home: Library) -> Iterator[None]:
    """If it fails: what the daemon had to say, and how to see it again."""
    try:
        yield
    except BaseException as error:
        print(f"  {error!r:.2000}")
        if home.log.exists():
            print("".join(f"  {line}\n" for line in home.log.read_text().splitlines()[-100:]))
        again = f"ICLOUDFS_STORY_RUNS=1 ICLOUDFS_RANDOM_SEED={seed} pytest {Path(__file__).name}"
        print(f"to run it again: {again}")
        raise


@contextmanager
def _databases(*libraries: Library) -> Iterator[list[apsw.Connection]]:
    """To be looked into. A daemon that runs writes to each of them."""
    with ExitStack() as opened:
        yield [
            opened.enter_context(closing(connect(path, write=False)))
            for library in libraries
            for path in library.state.glob("*.db")
        ]


# -- what the kernel remembers ---------------------------------------------------------------------


class Attributes(NamedTuple):
    """What ``stat`` tells. Times in seconds."""

    ino: int
    mode: int
    size: int
    mtime: int
    ctime: int
    nlink: int


def _assert_the_kernel_knows(library: Library, seen: set[Path]) -> None:
    """Every path that was ever looked at is what the database says, or gone.

    To be asked before directories are listed: what they tell replaces what the kernel remembers.
    """

    def stale() -> list[tuple[Path, Attributes | None, Attributes | None]]:
        with _databases(library) as (connection,):
            told = _attributes_by_path(connection)
        paths = seen | {library.mount_point / path for path in told}
        expected = {path: told.get(str(path.relative_to(library.mount_point))) for path in paths}
        return [(p, _attributes(p), e) for p, e in expected.items() if _attributes(p) != e]

    try:
        wait_until(lambda: not stale(), AT_ONCE)
    except TimeoutError:
        assert stale() == []


def _attributes(path: Path) -> Attributes | None:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    times = int(found.st_mtime), int(found.st_ctime)
    return Attributes(found.st_ino, found.st_mode, found.st_size, *times, found.st_nlink)


def _attributes_by_path(connection: apsw.Connection) -> dict[str, Attributes]:
    """The whole tree of a database."""
    found = {}
    folders = [("", ROOT)]
    for above, parent in folders:
        rows = connection.execute(
            "SELECT dirent.name, inode.ino, mode, size, mtime, ctime, nlink"
            "  FROM dirent JOIN inode ON inode.ino = dirent.ino WHERE parent = ?",
            (parent,),
        )
        for name, *attributes in rows:
            path = f"{above}{bytes(name).decode()}"
            found[path] = Attributes(*attributes)
            if stat.S_ISDIR(found[path].mode):
                folders.append((f"{path}/", found[path].ino))
    return found


# -- what the mount shows --------------------------------------------------------------------------

_XATTRS = ("asset", "checksum", "library", "original_name", "taken", "favorite", "hidden")


class Node(NamedTuple):
    """A file or a directory as the mount shows it. Of a directory no times: they are history."""

    mode: int
    nlink: int
    size: int = 0
    mtime: int = 0
    ctime: int = 0
    xattrs: tuple[str, ...] = ()


class Mount(NamedTuple):
    """Everything in a mount, as its directories list it."""

    entries: Entries
    nodes: dict[int, Node]


def _nodes(library: Library) -> Mount:
    mount = Mount({}, {})
    for folder, folders, files in os.walk(library.mount_point):
        parent = Path(folder).lstat().st_ino
        for name in [*folders, *files]:
            path = Path(folder, name)
            shown = path.lstat()
            mount.entries[parent, shown.st_ino] = name
            if shown.st_ino not in mount.nodes:
                mount.nodes[shown.st_ino] = _node(path, shown)
    return mount


def _node(path: Path, shown: os.stat_result) -> Node:
    if stat.S_ISDIR(shown.st_mode):
        return Node(shown.st_mode, shown.st_nlink)
    return Node(
        shown.st_mode,
        shown.st_nlink,
        shown.st_size,
        shown.st_mtime_ns,
        shown.st_ctime_ns,
        tuple(os.getxattr(path, f"user.icloudfs.{name}").decode() for name in _XATTRS),
    )


def _assert_same_mount(here: Mount, there: Mount, known: Namesakes) -> None:
    assert_same_entries(here.entries, there.entries, known)
    assert here.nodes == there.nodes


# -- what is left over -----------------------------------------------------------------------------


def _failed(connection: apsw.Connection) -> list[str]:
    """Contents that could not be had, although everything was read after the last fault.

    What an edited photo showed before may have failed for good; no file shows it any more.
    """
    rows = connection.execute(
        "SELECT checksum || ': ' || last_error FROM content"
        " WHERE status = 'failed' AND checksum IN (SELECT checksum FROM inode)"
    )
    return [str(row) for (row,) in rows]


def _unforeseen(library: Library) -> list[str]:
    """What the daemons of a story noted that nobody had thought of."""
    signs = ("Traceback", "unforeseen", "failed again")
    return [line for line in library.log.read_text().splitlines() if any(s in line for s in signs)]
