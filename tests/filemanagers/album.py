"""An album on the phone: what a window of its folder is to show."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from tests.filemanagers.screen import scene_of
from tests.whole.local_icloud import Entry, LocalICloud

DESK: tuple[tuple[str, dict[str, Any]], ...] = (
    ("heic", {}),
    ("jpeg", {}),
    ("live", {}),
    ("screenshot", {}),
    ("video", {}),
    ("turned", {}),
    ("portrait", {}),
    ("heic", {"edited": True}),
    ("panorama", {}),
    ("large", {}),
    ("jpeg", {"favorite": 1}),
    ("heic", {}),
)
"""Of everything that an ordinary library has, and a photo of 4 MB that nobody wants to download to see it."""

_SUFFIXES = {"jpeg": "JPG", "turned": "JPG", "panorama": "JPG", "large": "JPG"}
_SUFFIXES |= {"screenshot": "PNG", "video": "MOV"}
_FIRST = 7001
"""Numbers of four digits, so that every file manager sorts them alike."""


class Album:
    """Made and filled by the phone. Its photos are named in the order in which they were taken."""

    def __init__(self, icloud: LocalICloud, title: str) -> None:
        self._icloud = icloud
        self.title = title
        self._name = icloud.control.phone("create_album", title=title)
        self._taken = 0

    def take(self, kind: str, **details: Any) -> str:
        """Take a photo that goes into this album; its file name, which sorts behind all others."""
        filename = f"IMG_{_FIRST + self._taken}.{_SUFFIXES.get(kind, 'HEIC')}"
        self._taken += 1
        self._icloud.control.phone(
            "add_photo", kind=kind, filename=filename, albums=[self._name], **details
        )
        return filename

    def delete(self, filename: str) -> None:
        """Put a photo into Recently Deleted."""
        (entry,) = (entry for entry in self._entries() if entry["filename"] == filename)
        self._icloud.control.phone("delete", asset=entry["asset"])

    def scenes(self) -> list[int]:
        """What the thumbnails of its files show, in the order of the files' names.

        A photo's companions, the video of a live photo and the edited picture, are files beside it and
        show the same.
        """
        return [
            self._scene(entry)
            for entry in sorted(self._entries(), key=lambda entry: str(entry["filename"]))
            for _ in entry["renditions"]
        ]

    def _entries(self) -> list[Entry]:
        return [
            entry
            for entry in self._icloud.manifest()
            if [self.title] in entry["albums"] and not entry["deleted"]
        ]

    def _scene(self, entry: Entry) -> int:
        (checksum,) = (s["checksum"] for s in entry["small"] if s["rendition"] == "thumb")
        scene = scene_of(Image.open(io.BytesIO(self._icloud.content(checksum))))
        assert scene is not None, "the simulator draws other pictures than this test knows"
        return scene
