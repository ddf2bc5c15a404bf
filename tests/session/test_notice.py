"""Whoever sits there is told on the screen that they have to sign in again."""

from __future__ import annotations

from pathlib import Path

from PIL import ImageGrab

from tests.filemanagers.conftest import SCREENSHOTS
from tests.filemanagers.person import Person
from tests.scratch import wait_until
from tests.session.conftest import Begin


def _displayed(person: Person) -> int:
    return int(person.run("dunstctl", "count", "displayed").stdout)


def test_a_notice_is_shown(begin: Begin, notes: list[str]) -> None:
    photos = begin("notice")
    person = photos.person
    person.start("dunst")
    wait_until(lambda: person.run("dunstctl", "count", check=False).returncode == 0)
    person.environment.pop("ICLOUDFS_PASSWORD")  # it would sign in by itself
    photos.icloudfs("mount", photos.mount_point, "--interval", "1")
    assert _displayed(person) == 0

    photos.icloudfs("logout")

    wait_until(lambda: _displayed(person) == 1, 30)
    SCREENSHOTS.mkdir(exist_ok=True)
    path = Path(SCREENSHOTS, "notice.png")
    ImageGrab.grab(xdisplay=person.environment["DISPLAY"]).save(path)
    notes.append(str(path))
    person.run("dunstctl", "close-all")
    shown = person.run("dunstctl", "history").stdout
    assert "sign in again" in shown and "icloudfs login" in shown
    photos.unmount()
