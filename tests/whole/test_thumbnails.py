"""Looking at a folder shows small pictures, and downloads no photo."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.scratch import Scratch
from tests.whole.library import ALL_VIEWS, Library, checksum_of
from tests.whole.local_icloud import LocalICloud

THUMBNAIL = "user.icloudfs.thumbnail"
MAY_2020 = 1_589_000_000_000
"""2020-05-09, in ms."""
FOLDER = "Library/2020/2020-05"
KINDS = ("jpeg", "heic", "video", "dng", "turned", "live", "raw+jpeg", "png")
"""What is in it, three times each; the first is edited."""


@pytest.fixture
def own_icloud(scratch: Scratch) -> Iterator[LocalICloud]:
    icloud = LocalICloud(scratch, "--no-two-factor", assets=30)
    phone = icloud.control.phone
    for number in range(24):
        kind = KINDS[number % len(KINDS)]
        name = f"{kind.upper()} {number} [a]"
        asset = phone("add_photo", kind=kind, taken=MAY_2020 + number, filename=name)["asset"]
        if number == 0:
            phone("edit", asset=asset)
    yield icloud
    icloud.stop()


@pytest.fixture
def home(own_icloud: LocalICloud, scratch: Scratch) -> Iterator[Library]:
    """Signed in and listed, with small pictures switched on."""
    library = Library(own_icloud, scratch)
    library.environment["ICLOUDFS_THUMBNAILS"] = "true"
    library.login()
    library.sync()
    own_icloud.control.reset_traffic()
    yield library
    library.end()


def originals_sent(library: Library) -> int:
    """Bytes of whatever is a file in the mount."""
    sent = library.icloud.control.traffic(log=False)["content_bytes"]
    return sum(sent.get(checksum_of(path), 0) for path in library.files())


def shown(path: Path) -> Image.Image:
    image = Image.open(io.BytesIO(os.getxattr(path, THUMBNAIL)))
    image.load()
    return image


def test_every_photo_and_video_has_one_as_an_attribute(home: Library) -> None:
    home.mount(views=ALL_VIEWS)
    files = list(home.files(FOLDER))
    assert len(files) > 24
    assert {path.suffix for path in files} >= {".JPG", ".HEIC", ".MOV", ".DNG", ".PNG"}
    assert any("-edited" in path.name for path in files)

    for path in files:
        assert shown(path).format == "JPEG"
        assert len(os.getxattr(path, THUMBNAIL)) <= 64 << 10
        assert THUMBNAIL not in os.listxattr(path)

    assert originals_sent(home) == 0
    assert home.cached_files() == []


def test_the_right_way_up(home: Library) -> None:
    home.mount()
    for path in home.files(FOLDER):
        picture = shown(path)
        standing = path.name.startswith(("TURNED", "PNG"))
        assert (picture.height > picture.width) == standing, path


def test_without_a_network_what_is_kept_is_there_and_the_rest_is_not(
    home: Library, own_icloud: LocalICloud
) -> None:
    home.mount()
    kept, other = [path for path in home.files("Library") if path.suffix == ".JPG"][:2]
    picture = os.getxattr(kept, THUMBNAIL)
    own_icloud.stop()
    assert os.getxattr(kept, THUMBNAIL) == picture
    with pytest.raises(OSError) as caught:
        os.getxattr(other, THUMBNAIL)
    assert caught.value.errno == errno.ENODATA
    own_icloud.start()


def test_switched_off_there_are_none(home: Library, own_icloud: LocalICloud) -> None:
    home.mount("--no-thumbnails")
    path = next(iter(home.files("Library")))
    with pytest.raises(OSError) as caught:
        os.getxattr(path, THUMBNAIL)
    assert caught.value.errno == errno.ENODATA
    assert own_icloud.calls(kind="content") == []
    assert checksum_of(path)
