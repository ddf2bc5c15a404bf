"""One local iCloud and one throw-away user; for each file manager a home, a mount and a desktop of its own.

The tests of this directory run by ``scripts/desktop-test``, which installs the file managers, and icloudfs
where an ordinary user can start it. What they photographed and measured is printed at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.filemanagers.album import DESK, Album
from tests.filemanagers.desktop import Desktop
from tests.filemanagers.managers import MANAGERS, FileManager
from tests.filemanagers.person import Person, fuse_for_everybody, throw_away_person
from tests.filemanagers.photos import Photos
from tests.filemanagers.window import Window
from tests.fusectl import control_filesystem
from tests.measured import notes, pytest_terminal_summary  # noqa: F401
from tests.scratch import Scratch, scratch_folder
from tests.whole.local_icloud import LocalICloud

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
MANY = 500
MAY_2014 = 1_400_000_000_000
"""2014-05-13, in ms: what was added then is not among the newest, which are always at hand."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test once for each file manager that was asked for."""
    if "manager" in metafunc.fixturenames:
        chosen = os.environ.get("ICLOUDFS_FILE_MANAGERS", "").split()
        assert chosen, (
            "ICLOUDFS_FILE_MANAGERS is not set: these tests are run by scripts/desktop-test"
        )
        metafunc.parametrize(
            "manager", [MANAGERS[name] for name in chosen], ids=chosen, scope="session"
        )


@pytest.fixture(scope="session")
def common_scratch() -> Iterator[Scratch]:
    assert os.geteuid() == 0, "these tests make a user: run them as root"
    with control_filesystem(), scratch_folder() as scratch:
        yield scratch


@pytest.fixture(scope="session")
def icloudfs() -> Path:
    """The command that ``scripts/desktop-test`` installed for everybody."""
    given = os.environ.get("ICLOUDFS_FOR_EVERYBODY", "")
    assert given, "ICLOUDFS_FOR_EVERYBODY is not set: these tests are run by scripts/desktop-test"
    return Path(given)


@pytest.fixture(scope="session")
def person(common_scratch: Scratch) -> Iterator[Person]:
    with fuse_for_everybody(), throw_away_person(common_scratch) as person:
        yield person


@pytest.fixture(scope="session")
def machine(common_scratch: Scratch, icloudfs: Path) -> Iterator[None]:
    """What only root can do for file managers, and undone afterwards."""
    common_scratch.run(icloudfs, "desktop", "install", common_scratch.folder / "Photos")
    yield
    common_scratch.run(icloudfs, "desktop", "uninstall")


@pytest.fixture(scope="session")
def icloud(common_scratch: Scratch) -> Iterator[LocalICloud]:
    """The library of the demo."""
    icloud = LocalICloud(common_scratch, assets=300)
    yield icloud
    icloud.stop()


@pytest.fixture(scope="session")
def many(icloud: LocalICloud) -> Album:
    """An album of five hundred."""
    album = Album(icloud, f"{MANY} photos")
    for number in range(MANY):
        album.take(("heic", "jpeg")[number % 2])
    return album


@pytest.fixture(scope="session")
def unseen(icloud: LocalICloud, manager: FileManager) -> Album:
    """An album that nobody opens while there is a network."""
    album = Album(icloud, f"Not for {manager.name} yet")
    for _ in range(20):
        album.take("jpeg", added=MAY_2014)
    return album


@pytest.fixture(scope="session")
def desk(icloud: LocalICloud, manager: FileManager) -> Album:
    """An album that fits into a window, with one file of every kind."""
    album = Album(icloud, f"For {manager.name}")
    for kind, details in DESK:
        album.take(kind, **details)
    return album


@pytest.fixture(scope="session")
def photos(
    machine: None,
    icloudfs: Path,
    icloud: LocalICloud,
    person: Person,
    manager: FileManager,
    desk: Album,
    many: Album,
    unseen: Album,
) -> Iterator[Photos]:
    """The library in a new home, signed in, listed, and mounted; nothing is cached."""
    person.move_to(person.scratch.folder / f"{manager.name}-home")
    photos = Photos(icloudfs, icloud, person)
    photos.mount()
    yield photos
    photos.unmount()


@pytest.fixture(scope="session")
def window(
    photos: Photos,
    manager: FileManager,
    notes: list[str],  # noqa: F811
) -> Iterator[Window]:
    """The file manager on a desktop. It has not been started yet."""
    desktop = Desktop(photos.person)
    SCREENSHOTS.mkdir(exist_ok=True)
    window = Window(manager, desktop, photos, SCREENSHOTS, notes)
    yield window
    window.close()
    desktop.close()
