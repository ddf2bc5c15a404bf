"""A folder whose thumbnails are laid out costs no original, also in file managers that cannot ask for any."""

from __future__ import annotations

import pytest

from tests.filemanagers.album import Album
from tests.filemanagers.photos import Photos
from tests.filemanagers.screen import scenes_on
from tests.filemanagers.window import Rest, Window


@pytest.fixture(scope="session")
def seen_before(window: Window, photos: Photos, desk: Album) -> Rest:
    """The window of an album that somebody has looked at before."""
    photos.lay_thumbnails(desk)
    return window.open(desk, "opened again")


def test_every_picture_is_shown(seen_before: Rest, desk: Album) -> None:
    assert scenes_on(seen_before.screen) == desk.scenes()


def test_no_original_is_read(seen_before: Rest) -> None:
    assert seen_before.sent.originals == 0
