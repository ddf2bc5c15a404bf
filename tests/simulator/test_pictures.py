"""Pictures and movies are real: other people's decoders read them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import pillow_heif
import pytest
from PIL import Image

from icloudfs.apple import checksum
from icloudfs.simulator import LibraryPlan, movies, pictures
from icloudfs.simulator.library import build
from icloudfs.simulator.pictures import Exif
from icloudfs.simulator.rows import Asset, Master

pillow_heif.register_heif_opener()

WHEN = Exif("2024:05:06 07:08:09", "+02:00")


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize("shape", [pictures.ORIGINAL, pictures.MEDIUM, pictures.THUMB])
def test_a_jpeg_has_its_size_and_shows_its_label(shape: pictures.Shape) -> None:
    one = opened(pictures.jpeg(shape, 1, "00001 ONE"))
    two = opened(pictures.jpeg(shape, 1, "00002 TWO"))
    assert one.size == (shape.width, shape.height)
    label = (0, shape.height - shape.label_rows * 16, shape.width, shape.height)
    scene = (0, 0, shape.width, label[1] - 16)
    assert one.crop(scene).tobytes() == two.crop(scene).tobytes()
    assert one.crop(label).tobytes() != two.crop(label).tobytes()


def test_exif_says_when() -> None:
    for content in (
        pictures.jpeg(pictures.ORIGINAL, 0, "X", WHEN),
        pictures.heic(0, WHEN),
        pictures.dng(0, "X", WHEN),
    ):
        exif = opened(content).getexif()
        assert exif.get_ifd(0x8769)[0x9003] == WHEN.date
        assert exif.get_ifd(0x8769)[0x9011] == WHEN.offset


def test_a_turned_photo_stands_once_it_is_held_as_exif_says() -> None:
    stored = opened(pictures.turned_jpeg(2, "X", Exif(orientation=6)))
    assert stored.size == (1600, 1200)
    assert stored.getexif()[0x0112] == 6


def test_other_formats() -> None:
    assert opened(pictures.png(1, "IMG_0001.PNG")).size == pictures.SCREEN
    assert opened(pictures.heic(1, WHEN)).format == "HEIF"
    assert opened(pictures.gif(1, "cat")).format == "GIF"
    assert opened(pictures.webp(1, "sticker")).format == "WEBP"
    assert opened(pictures.dng(1, "raw", WHEN)).format == "TIFF"


def boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(content):
        (length,) = struct.unpack_from(">L", content, at)
        yield content[at + 4 : at + 8], content[at + 8 : at + length]
        at += length
    assert at == len(content)


@pytest.mark.parametrize("moov_first", [True, False])
def test_a_movie_holds_its_frames_where_its_index_says(moov_first: bool) -> None:
    content = movies.movie(1, "MOV", seconds=1.0, moov_first=moov_first, padding=5000)
    order = [kind for kind, _ in boxes(content)]
    assert order == (
        [b"ftyp", b"moov", b"free", b"mdat"] if moov_first else [b"ftyp", b"free", b"mdat", b"moov"]
    )
    (first,) = struct.unpack_from(">L", content, content.index(b"stco") + 12)
    (size,) = struct.unpack_from(">L", content, content.index(b"stsz") + 16)
    frame = opened(content[first : first + size])
    assert frame.size == (pictures.FRAME.width, pictures.FRAME.height)


@pytest.mark.parametrize("drawn", [True, False])
def test_every_content_of_a_library_has_its_checksum_and_opens(drawn: bool) -> None:
    cloud, _ = build(LibraryPlan(assets=110, seed=2, drawn=drawn, large_files=False))
    seen = 0
    for zone in cloud.zones():
        for row in zone.rows.values():
            if not isinstance(row, Asset | Master):
                continue
            if isinstance(row, Master):
                assert row.name == row.resources[0].blob.checksum
            for resource in row.resources:
                content = resource.blob.content()
                assert len(content) == resource.blob.size
                assert checksum.of(content) == resource.blob.checksum
                seen += 1
                if resource.uti.startswith("public.") and seen % 5 == 0:
                    opened(content)
    assert seen > 300


def test_the_same_plan_gives_the_same_library() -> None:
    plan = LibraryPlan(assets=30, seed=9, oddities=False)
    one, _ = build(plan)
    two, _ = build(plan)
    assert [zone.rows for zone in one.zones()] != []
    for left, right in zip(one.zones(), two.zones(), strict=True):
        assert left.token() == right.token()
        assert list(left.rows) == list(right.rows)


def test_another_seed_gives_another_library() -> None:
    names = [
        {
            asset.name
            for asset in build(LibraryPlan(assets=5, seed=s))[0].zone("PrimarySync").assets()
        }
        for s in (1, 2)
    ]
    assert not names[0] & names[1]


def test_a_drawn_library_has_no_two_equal_pictures() -> None:
    cloud, _ = build(LibraryPlan(assets=60, seed=4, oddities=False, shared="none"))
    masters = [r for r in cloud.zone("PrimarySync").rows.values() if isinstance(r, Master)]
    digests = [resource.blob.digest for row in masters for resource in row.resources]
    assert len(set(digests)) == len(digests)
