"""A file manager's window into the library."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.filemanagers.album import Album
from tests.filemanagers.desktop import Desktop
from tests.filemanagers.managers import FileManager
from tests.filemanagers.photos import Photos
from tests.filemanagers.traffic import Sent, contents_sent, sent
from tests.scratch import wait_until

_NOTICED = 15.0
"""Seconds that a window may take to show what has happened on the phone."""


@dataclass(frozen=True)
class Rest:
    """A window that has done what it had to do."""

    screen: Image.Image
    sent: Sent
    """Since it was opened, or since the phone did something."""


class Window:
    """A file manager that shows one folder."""

    def __init__(
        self,
        manager: FileManager,
        desktop: Desktop,
        photos: Photos,
        screenshots: Path,
        notes: list[str],
    ) -> None:
        self._manager = manager
        self._desktop = desktop
        self._photos = photos
        self._screenshots = screenshots
        self._notes = notes
        self._process: subprocess.Popen[str] | None = None
        photos.person.environment["XDG_CURRENT_DESKTOP"] = manager.desktop

    def open(self, album: Album) -> Rest:
        """Show an album's folder in place of what was shown; returns when all is still."""
        return self.open_folder(self._photos.folder_of(album))

    def open_folder(self, folder: Path) -> Rest:
        self.close()
        self._photos.icloud.control.reset_traffic()
        self._process = self._photos.person.start(*self._manager.command, folder)
        self._desktop.wait_for_window(self._manager.window_class)
        if self._manager.marks_any:
            self._desktop.at_rest(lambda: contents_sent(self._photos.icloud))
            self._desktop.press("ctrl+Home")
        return self._at_rest(f"opened {folder.name}")

    def after(self, what: str) -> Rest:
        """What the window makes of a thing that the phone has just done, without anybody touching it."""
        before = self._desktop.look()
        self._photos.icloudfs("sync", "--mirror", "demand")
        with suppress(TimeoutError):  # whether it shows anything is the test's to judge
            wait_until(lambda: self._desktop.look() != before, _NOTICED)
        return self._at_rest(what)

    def _at_rest(self, what: str) -> Rest:
        icloud = self._photos.icloud
        screen = self._desktop.at_rest(lambda: contents_sent(icloud))
        rest = Rest(screen, sent(icloud))
        path = self._screenshots / f"{self._manager.name}, {what}.png"
        screen.save(path)
        self._notes.append(f"{path}: {rest.sent}")
        return rest

    def close(self) -> None:
        """End the program; its window is gone when this returns."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._desktop.wait_for_no_window(self._manager.window_class)
            self._process = None
