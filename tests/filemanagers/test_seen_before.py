"""A folder whose thumbnails are laid out costs no original."""

from __future__ import annotations

import pytest

from tests.filemanagers.album import DESK, Album
from tests.filemanagers.managers import FileManager
from tests.filemanagers.photos import Photos
from tests.filemanagers.screen import scenes_on
from tests.filemanagers.window import Rest, Window


@pytest.fixture(scope="session")
def known(photos: Photos, manager: FileManager) -> Album:
    """An album whose folder its owner has looked at before, but in no file manager."""
    album = Album(photos.icloud, f"Known to {manager.name}")
    for kind, details in DESK:
        album.take(kind, **details)
    photos.icloudfs("sync", "--mirror", "demand")
    photos.lay_thumbnails(album)
    return album


@pytest.fixture(scope="session")
def seen(window: Window, known: Album) -> Rest:
    return window.open(known)


def test_every_picture_is_shown(seen: Rest, known: Album, manager: FileManager) -> None:
    assert scenes_on(seen.screen) == known.scenes()[manager.hidden :]


def test_no_original_is_read(seen: Rest, manager: FileManager) -> None:
    assert seen.sent.originals <= manager.told
