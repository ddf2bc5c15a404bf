"""What somebody sees who browses: every picture, without one original read; and what the phone does, at once.

The tests of one file manager share its window and are told in the order of a morning: a folder is opened,
a photo is taken, it is deleted, a folder of five hundred is opened, and then one without a network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.filemanagers.album import Album
from tests.filemanagers.managers import FileManager
from tests.filemanagers.photos import Photos, Watch
from tests.filemanagers.screen import scenes_on
from tests.filemanagers.window import Rest, Window


@pytest.fixture(scope="session")
def opened(window: Window, desk: Album) -> Rest:
    """The window of an album, all done."""
    return window.open(desk)


@pytest.fixture(scope="session")
def watch(photos: Photos, desk: Album, opened: Rest) -> Iterator[Watch]:
    """The same folder, watched by a second program."""
    watch = Watch(photos.person, photos.folder_of(desk))
    yield watch
    watch.end()


@dataclass(frozen=True)
class Taken:
    """A photo that was taken while the window was open."""

    name: str
    scenes: list[int]
    """What the folder's files show since it is there."""
    rest: Rest


@pytest.fixture(scope="session")
def taken(window: Window, desk: Album, watch: Watch, photos: Photos) -> Taken:
    photos.icloud.control.reset_traffic()
    name = desk.take("jpeg")
    return Taken(name, desk.scenes(), window.after("a photo is taken"))


@pytest.fixture(scope="session")
def deleted(window: Window, desk: Album, taken: Taken, photos: Photos) -> Rest:
    """The same photo is deleted again."""
    photos.icloud.control.reset_traffic()
    desk.delete(taken.name)
    return window.after("it is deleted")


@pytest.fixture(scope="session")
def crowd(window: Window, many: Album, deleted: Rest) -> Rest:
    """A window of five hundred photos that nobody has seen yet."""
    return window.open(many)


@pytest.fixture(scope="session")
def folders(window: Window, photos: Photos, crowd: Rest) -> Rest:
    """A window of folders in which nobody has been; Dolphin draws photos on their icons."""
    library = photos.mount_point / "Library"
    oldest = photos.person.run("ls", library).stdout.splitlines()[0]
    return window.open_folder(library / oldest)


@pytest.fixture(scope="session")
def away(window: Window, photos: Photos, unseen: Album, folders: Rest) -> Rest:
    """A window of an album that is opened where there is no network."""
    control = photos.icloud.control
    for kind in ("query", "changes", "lookup", "content"):
        control.set_fault(kind, "drop")
    try:
        return window.open(unseen)
    finally:
        control.clear_faults()


def test_every_picture_is_shown(opened: Rest, manager: FileManager, desk: Album) -> None:
    assert scenes_on(opened.screen) == desk.scenes()[manager.hidden :]


def test_no_original_is_read(opened: Rest, manager: FileManager) -> None:
    assert opened.sent.originals <= manager.told


def test_a_photo_taken_is_told_to_whoever_watches(taken: Taken, watch: Watch) -> None:
    assert f"CREATE {taken.name}" in watch.events()


def test_a_photo_taken_appears(opened: Rest, taken: Taken) -> None:
    assert taken.rest.screen != opened.screen


def test_a_photo_taken_appears_with_its_picture_and_is_not_downloaded(
    taken: Taken, manager: FileManager
) -> None:
    assert scenes_on(taken.rest.screen) == taken.scenes[manager.hidden :]
    assert taken.rest.sent.originals == 0


def test_a_photo_deleted_is_told_to_whoever_watches(
    taken: Taken, deleted: Rest, watch: Watch
) -> None:
    assert f"DELETE {taken.name}" in watch.events()


def test_a_photo_deleted_disappears(
    deleted: Rest, taken: Taken, desk: Album, manager: FileManager
) -> None:
    assert deleted.screen != taken.rest.screen
    assert scenes_on(deleted.screen) == desk.scenes()[manager.hidden :]


def test_many_photos_are_shown(crowd: Rest, many: Album, manager: FileManager) -> None:
    """As many as the window has room for, from the first on."""
    shown = scenes_on(crowd.screen)
    assert len(shown) >= 20
    assert shown == many.scenes()[manager.hidden :][: len(shown)]


def test_many_photos_cost_no_original(crowd: Rest, manager: FileManager) -> None:
    assert crowd.sent.originals <= manager.told


def test_folders_with_photos_cost_no_original(folders: Rest) -> None:
    assert folders.sent.originals == 0


def test_without_a_network_a_window_opens_and_nothing_is_read(away: Rest, unseen: Album) -> None:
    assert away.sent.originals == 0
    assert len(scenes_on(away.screen)) < len(unseen.scenes())
