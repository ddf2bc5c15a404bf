"""What draws thumbnails for Xfce takes Apple's pictures in the mount, and goes on as before elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

from icloudfs.desktop.uris import entry, uris
from tests.filemanagers.album import Album
from tests.filemanagers.person import Person
from tests.filemanagers.traffic import sent
from tests.scratch import wait_until
from tests.session.conftest import Begin

_TUMBLER = "org.freedesktop.thumbnails.Thumbnailer1"
_OWN = """[Thumbnailer Entry]
Exec=/bin/cp %i %o
MimeType=application/x-own;
"""


def _thumbnail(person: Person, file: Path, mime: str) -> Path:
    """Ask for it as Thunar does; where it lies."""
    (uri,) = uris(os.fsencode(file))
    person.run(
        *("gdbus", "call", "--session", "--dest", _TUMBLER),
        *("--object-path", f"/{_TUMBLER.replace('.', '/')}", "--method", f"{_TUMBLER}.Queue"),
        *(f'["{uri}"]', f'["{mime}"]', "normal", "default", "0"),
    )
    path = person.home / ".cache/thumbnails/normal" / entry(uri)
    wait_until(path.exists, 20)
    return path


def test_tumbler(begin: Begin, many: Album, notes: list[str]) -> None:
    photos = begin("tumbler")
    person = photos.person
    person.write(".local/share/thumbnailers/own.thumbnailer", _OWN)
    photos.icloudfs("mount", photos.mount_point)
    photos.icloudfs("desktop", "install", photos.mount_point)
    photos.icloud.control.reset_traffic()

    # Nobody opens the folder, so nothing is laid out there.
    for name, mime in (("IMG_7101.HEIC", "image/heif"), ("IMG_7102.JPG", "image/jpeg")):
        made = _thumbnail(person, photos.folder_of(many) / name, mime)
        assert Image.open(made).info.get("Software") != "icloudfs"
    of_all = sent(photos.icloud)
    notes.append(f"tumbler, 2 photos: {of_all}")

    own, picture = person.home / "file.own", person.home / "picture.jpg"
    Image.new("RGB", (100, 80), "#ff0000").save(own, "PNG")
    Image.new("RGB", (300, 200), "#00ff00").save(picture)
    drawn = Image.open(_thumbnail(person, own, "application/x-own"))
    assert drawn.convert("RGB").getpixel((5, 5)) == (255, 0, 0)
    assert Image.open(_thumbnail(person, picture, "image/jpeg")).width == 128
    photos.unmount()

    assert of_all.originals == 0
