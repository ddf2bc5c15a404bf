"""What is done on the phone is heard of in an open folder, as if it had been done here (DESIGN §7)."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import watcher
from tests.scratch import scratch_folder, wait_until
from tests.whole.library import ALL_VIEWS, Library
from tests.whole.local_icloud import LocalICloud

INTERVAL = 1.0
AT_MOST = INTERVAL + 1.0
"""Seconds until an event is heard: an interval and the calls."""
MAY_2020 = 1_589_000_000_000
"""2020-05-09, in ms."""


@pytest.fixture(scope="module")
def home() -> Iterator[Library]:
    with scratch_folder() as scratch:
        icloud = LocalICloud(scratch, assets=40)
        library = Library(icloud, scratch)
        library.login()
        library.sync()
        library.mount("--interval", str(INTERVAL), views=ALL_VIEWS)
        yield library
        library.unmount()
        assert "Traceback" not in library.log.read_text()
        icloud.stop()


@pytest.fixture
def phone(home: Library) -> Callable[..., Any]:
    return home.icloud.control.phone


class Window:
    """An open folder: it was listed once and is watched from then on, and nothing looks into it again."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, watcher.__file__, folder], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "\n"
        self.heard: list[str] = []
        self._listening = threading.Thread(target=self._listen)
        self._listening.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        self.heard.extend(line.split(" ", 1)[1].strip() for line in self._process.stdout)

    def hears(self, *patterns: str) -> None:
        """Wait until something that matches each of these was heard."""
        try:
            wait_until(
                lambda: all(
                    any(re.fullmatch(pattern, event) for event in list(self.heard))
                    for pattern in patterns
                ),
                AT_MOST,
            )
        except TimeoutError:
            pytest.fail(f"{patterns} within {AT_MOST} s; only {self.heard}")

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._listening.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def month(home: Library, phone: Callable[..., Any]) -> Path:
    """A month with photos in it."""
    added = phone("add_photo", kind="jpeg", taken=MAY_2020)
    return home.until_shown(added["asset"])[0].parent


def test_a_photo_comes_and_goes(home: Library, phone: Callable[..., Any], month: Path) -> None:
    with Window(home.mount_point / "Library/2020/2020-05") as window:
        asset = phone("add_photo", kind="jpeg", taken=MAY_2020, filename="COMES.JPG")["asset"]
        window.hears("CREATE COMES.JPG")
        assert len(home.files_of(asset, "Library")) == 1
        phone("delete", asset=asset)
        window.hears("(DELETE|MOVED_FROM) COMES.JPG")
        phone("restore", asset=asset)
        window.hears("(CREATE|MOVED_TO) COMES.JPG")


def test_a_photo_is_edited_twice(home: Library, phone: Callable[..., Any], month: Path) -> None:
    asset = phone("add_photo", kind="jpeg", taken=MAY_2020, filename="EDIT.JPG")["asset"]
    home.until_shown(asset)
    with Window(home.mount_point / "Library/2020/2020-05") as window:
        phone("edit", asset=asset)
        window.hears("CREATE EDIT-edited.JPG")
        edited = home.mount_point / "Library/2020/2020-05/EDIT-edited.JPG"
        assert edited.read_bytes() == home.truth(edited)
        phone("edit", asset=asset)
        window.hears("MODIFY EDIT-edited.JPG", "CLOSE_WRITE EDIT-edited.JPG")
        assert edited.read_bytes() == home.truth(edited)


def test_a_photo_becomes_a_favourite(home: Library, phone: Callable[..., Any], month: Path) -> None:
    one, other = (
        phone("add_photo", kind="jpeg", taken=MAY_2020, filename=f"{name}.JPG")["asset"]
        for name in ("LIKED", "BETTER")
    )
    phone("favorite", asset=one)
    wait_until(lambda: home.files_of(one, "Favorites"))
    home.until_shown(other)
    favorites = home.mount_point / "Favorites"
    with (
        Window(favorites) as window,
        Window(home.mount_point / "Library/2020/2020-05") as month_window,
    ):
        phone("favorite", asset=other)
        window.hears("CREATE BETTER.JPG")
        month_window.hears("ATTRIB BETTER.JPG")
        assert (favorites / "BETTER.JPG").stat().st_nlink == 3
        phone("unfavorite", asset=other)
        window.hears("DELETE BETTER.JPG")


def test_an_album_comes_is_renamed_and_goes(
    home: Library, phone: Callable[..., Any], month: Path
) -> None:
    asset = phone("add_photo", kind="jpeg", taken=MAY_2020, filename="ALBUM.JPG")["asset"]
    home.until_shown(asset)
    other = phone("create_album", title="Stays")
    phone("add_to_album", asset=asset, album=other)
    wait_until((home.mount_point / "Albums/Stays").exists)
    with Window(home.mount_point / "Albums") as window:
        album = phone("create_album", title="Alps")
        phone("add_to_album", asset=asset, album=album)
        window.hears("CREATE Alps")
        with Window(home.mount_point / "Albums/Alps") as inside:
            phone("rename_album", album=album, title="Dolomites")
            window.hears("MOVED_FROM Alps", "MOVED_TO Dolomites")
            inside.hears("MOVE_SELF")
            phone("delete_album", album=album)
            window.hears("DELETE Dolomites")
            inside.hears("DELETE ALBUM.JPG", "DELETE_SELF")
