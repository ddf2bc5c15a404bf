"""What is done on the phone is heard of in an open folder, as if it had been done here (DESIGN §7)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import watcher
from tests.scratch import wait_until
from tests.watching import Watching
from tests.whole.library import INTERVAL, MAY_2020, Library

AT_MOST = INTERVAL + 1.0
"""Seconds until an event is heard: an interval and the calls."""


class Window(Watching):
    """An open folder: it was listed once and is watched from then on, and nothing looks into it again."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, watcher.__file__, str(folder)]
        super().__init__(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

    def hears(self, *patterns: str) -> None:
        """Wait until something that matches each of these was heard."""
        try:
            wait_until(
                lambda: all(
                    any(re.fullmatch(f"0 {pattern}", event) for event in list(self.heard))
                    for pattern in patterns
                ),
                AT_MOST,
            )
        except TimeoutError:
            pytest.fail(f"{patterns} within {AT_MOST} s; only {self.heard}")


@pytest.fixture
def month(following: Library, phone: Callable[..., Any]) -> Path:
    """A month with photos in it."""
    added = phone("add_photo", kind="jpeg", taken=MAY_2020)
    return following.until_shown(added["asset"])[0].parent


def test_a_photo_comes_and_goes(following: Library, phone: Callable[..., Any], month: Path) -> None:
    with Window(following.mount_point / "Library/2020/2020-05") as window:
        asset = phone("add_photo", kind="jpeg", taken=MAY_2020, filename="COMES.JPG")["asset"]
        window.hears("CREATE COMES.JPG")
        assert len(following.files_of(asset, "Library")) == 1
        phone("delete", asset=asset)
        window.hears("(DELETE|MOVED_FROM) COMES.JPG")
        phone("restore", asset=asset)
        window.hears("(CREATE|MOVED_TO) COMES.JPG")


def test_a_photo_is_edited_twice(
    following: Library, phone: Callable[..., Any], month: Path
) -> None:
    asset = phone("add_photo", kind="jpeg", taken=MAY_2020, filename="EDIT.JPG")["asset"]
    following.until_shown(asset)
    with Window(following.mount_point / "Library/2020/2020-05") as window:
        phone("edit", asset=asset)
        window.hears("CREATE EDIT-edited.JPG")
        edited = following.mount_point / "Library/2020/2020-05/EDIT-edited.JPG"
        assert edited.read_bytes() == following.truth(edited)
        phone("edit", asset=asset)
        window.hears("MODIFY EDIT-edited.JPG", "CLOSE_WRITE EDIT-edited.JPG")
        assert edited.read_bytes() == following.truth(edited)


def test_a_photo_becomes_a_favourite(
    following: Library, phone: Callable[..., Any], month: Path
) -> None:
    one, other = (
        phone("add_photo", kind="jpeg", taken=MAY_2020, filename=f"{name}.JPG")["asset"]
        for name in ("LIKED", "BETTER")
    )
    phone("favorite", asset=one)
    wait_until(lambda: following.files_of(one, "Favorites"))
    following.until_shown(other)
    favorites = following.mount_point / "Favorites"
    with (
        Window(favorites) as window,
        Window(following.mount_point / "Library/2020/2020-05") as month_window,
    ):
        phone("favorite", asset=other)
        window.hears("CREATE BETTER.JPG")
        month_window.hears("ATTRIB BETTER.JPG")
        assert (favorites / "BETTER.JPG").stat().st_nlink == 3
        phone("unfavorite", asset=other)
        window.hears("DELETE BETTER.JPG")


def test_an_album_comes_is_renamed_and_goes(
    following: Library, phone: Callable[..., Any], month: Path
) -> None:
    asset = phone("add_photo", kind="jpeg", taken=MAY_2020, filename="ALBUM.JPG")["asset"]
    following.until_shown(asset)
    other = phone("create_album", title="Stays")
    phone("add_to_album", asset=asset, album=other)
    wait_until((following.mount_point / "Albums/Stays").exists)
    with Window(following.mount_point / "Albums") as window:
        album = phone("create_album", title="Alps")
        phone("add_to_album", asset=asset, album=album)
        window.hears("CREATE Alps")
        with Window(following.mount_point / "Albums/Alps") as inside:
            phone("rename_album", album=album, title="Dolomites")
            window.hears("MOVED_FROM Alps", "MOVED_TO Dolomites")
            inside.hears("MOVE_SELF")
            phone("delete_album", album=album)
            window.hears("DELETE Dolomites")
            inside.hears("DELETE ALBUM.JPG", "DELETE_SELF")
