from __future__ import annotations

import struct
import tracemalloc

import pytest

from icloudfs.desktop.pictures import MOST_XATTR, SIDE, pngs, upright_jpeg
from icloudfs.errors import ContentError
from tests.desktop.drawing import is_red, jpeg, opened


def test_what_is_small_and_upright_stays_as_it_is() -> None:
    picture = jpeg()
    assert upright_jpeg(picture) is picture


def test_what_is_too_large_is_made_smaller() -> None:
    picture = jpeg(1024, 768, noisy=True)
    assert len(picture) > MOST_XATTR
    smaller = upright_jpeg(picture)
    assert len(smaller) <= MOST_XATTR
    image = opened(smaller)
    assert image.format == "JPEG" and image.width > image.height >= 128
    assert is_red(image, 0.5, 0.2) and not is_red(image, 0.5, 0.8)


def test_what_cannot_be_made_small_enough() -> None:
    with pytest.raises(ContentError):
        upright_jpeg(jpeg(1024, 768, noisy=True), most=100)


def test_turned_upright() -> None:
    """Orientation 6: the first row is the right-hand side."""
    for picture in (upright_jpeg(jpeg(orientation=6)), *pngs(jpeg(orientation=6), [{}])):
        image = opened(picture)
        assert image.height > image.width
        assert is_red(image, 0.8, 0.5) and not is_red(image, 0.2, 0.5)


def test_a_png_as_the_standard_wants_it() -> None:
    texts = {"Thumb::URI": "file:///a", "Thumb::MTime": "17"}
    other, image = map(opened, pngs(jpeg(1024, 768), [{"Thumb::URI": "file:///b"}, texts]))
    assert (image.format, image.mode) == ("PNG", "P")
    assert image.size == (SIDE, SIDE * 3 // 4)
    assert image.info["Thumb::URI"] == "file:///a" and image.info["Thumb::MTime"] == "17"
    assert other.info["Thumb::URI"] == "file:///b" and "Thumb::MTime" not in other.info
    assert is_red(image, 0.5, 0.2) and not is_red(image, 0.5, 0.8)


@pytest.mark.parametrize("broken", [b"", b"\xff\xd8 no picture", jpeg()[:40], b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture(broken: bytes) -> None:
    with pytest.raises(ContentError):
        upright_jpeg(broken)
    with pytest.raises(ContentError):
        pngs(broken, [{}])


def test_half_a_picture_is_none() -> None:
    whole = jpeg(1024, 768, noisy=True)
    with pytest.raises(ContentError):
        pngs(whole[: len(whole) // 2], [{}])


def claiming(width: int, height: int) -> bytes:
    """A JPEG of little content whose head tells of so many pixels."""
    small = jpeg(16, 16)
    at = small.index(b"\xff\xc0") + 5
    return small[:at] + struct.pack(">HH", height, width) + small[at + 4 :]


@pytest.mark.parametrize("size", [(5001, 4000), (12_000, 7000), (65_500, 65_500)])
def test_a_small_picture_of_many_pixels_is_not_drawn(size: tuple[int, int]) -> None:
    tracemalloc.start()
    for draw in (upright_jpeg, lambda jpeg: pngs(jpeg, [{}])):
        with pytest.raises(ContentError):
            draw(claiming(*size))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
