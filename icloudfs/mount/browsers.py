"""Programs that look for a thumbnail once, ask nobody, and read what has none.

They read it in the process that views and copies, too: nothing can be refused to them. So they are made to look
later. Most look when they have listed a folder; Gwenview when it has stated a file, one after the other.
"""

from __future__ import annotations

import enum
from contextlib import suppress

from icloudfs.mount import askers


class Browser(enum.Enum):
    """When a program looks for a thumbnail."""

    BY_FOLDER = "lists a folder, and then looks for all of its thumbnails"
    BY_FILE = "stats a file, and then looks for its thumbnail"


_BY_NAME = {
    b"pcmanfm": Browser.BY_FOLDER,
    b"pcmanfm-qt": Browser.BY_FOLDER,
    b"gthumb": Browser.BY_FOLDER,
    b"gwenview": Browser.BY_FILE,
}


def browser(thread: int) -> Browser | None:
    """What the thread with this number belongs to."""
    with suppress(OSError):
        return _BY_NAME.get(askers.process_name(thread))
    return None
