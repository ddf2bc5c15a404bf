"""The file managers, and two viewers that browse, as Debian has them: how each is started."""

from __future__ import annotations

from dataclasses import dataclass

_HEAD = 128 << 10


@dataclass(frozen=True)
class FileManager:
    """One of them, with the settings that it comes with."""

    name: str
    command: tuple[str, ...]
    """What opens a folder; the folder comes last."""
    window_class: str
    desktop: str
    """``XDG_CURRENT_DESKTOP`` of the desktop it belongs to."""
    tells_of_first: bool = False
    """Whether it marks the first photo, in a frame that hides it from us, and reads what it says of itself."""

    marks_any: bool = False
    """Whether it marks the file that is the first when its window gets the focus, and goes there: any one, if
    that is before the folder is listed."""

    @property
    def hidden(self) -> int:
        """How many of the first pictures cannot be seen."""
        return 1 if self.tells_of_first else 0

    @property
    def told(self) -> int:
        """Bytes of originals that it may read to tell of one."""
        return _HEAD if self.tells_of_first else 0


MANAGERS = {
    manager.name: manager
    for manager in (
        FileManager("thunar", ("thunar",), "thunar", "XFCE", marks_any=True),
        FileManager("nautilus", ("nautilus", "--new-window"), "nautilus", "GNOME"),
        FileManager("dolphin", ("dolphin", "--new-window"), "dolphin", "KDE"),
        FileManager("caja", ("caja", "--no-desktop"), "caja", "MATE"),
        FileManager("nemo", ("nemo",), "nemo", "X-Cinnamon"),
        FileManager("pcmanfm", ("pcmanfm",), "pcmanfm", "LXDE"),
        FileManager("pcmanfm-qt", ("pcmanfm-qt",), "pcmanfm-qt", "LXQt"),
        # It would be dark, and no picture told from what is around it.
        FileManager("gthumb", ("env", "GTK_THEME=Adwaita", "gthumb"), "gthumb", "GNOME"),
        FileManager("gwenview", ("gwenview",), "gwenview", "KDE", tells_of_first=True),
    )
}
