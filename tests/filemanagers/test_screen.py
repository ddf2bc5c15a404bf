"""The eye that looks at screenshots sees pictures where there are some, and nothing else."""

from __future__ import annotations

from PIL import Image, ImageDraw

from icloudfs.simulator import pictures
from tests.filemanagers.screen import scenes_on

CELL = 130


def _screen(*shown: Image.Image) -> Image.Image:
    """Pictures at the size of thumbnails with a name below each, four in a row."""
    screen = Image.new("RGB", (4 * CELL, 3 * CELL), "#ffffff")
    draw = ImageDraw.Draw(screen)
    for number, picture in enumerate(shown):
        small = picture.copy()
        small.thumbnail((64, 64))
        left, top = number % 4 * CELL, number // 4 * CELL
        screen.paste(small, (left + (CELL - small.width) // 2, top + 80 - small.height))
        draw.text((left + 20, top + 100), "IMG_7001.HEIC", fill="#202020")
    return screen


def _picture(scene: int, *, standing: bool = False) -> Image.Image:
    shape = pictures.THUMB.turned() if standing else pictures.THUMB
    return pictures.draw_scene(scene, shape.width, shape.height)


def _icon() -> Image.Image:
    """What stands for a picture that could not be had."""
    icon = Image.new("RGB", (96, 96), "#f0f0f0")
    ImageDraw.Draw(icon).rectangle((4, 4, 91, 91), fill="#4a90d9")
    return icon


def test_every_scene_is_known_lying_and_standing() -> None:
    for standing in (False, True):
        shown = [_picture(scene, standing=standing) for scene in range(pictures.SCENES)]
        assert scenes_on(_screen(*shown)) == list(range(pictures.SCENES))


def test_they_are_told_in_the_order_in_which_one_reads() -> None:
    order = [3, 0, 5, 5, 1, 2, 4]
    shown = [_picture(scene, standing=place % 2 == 1) for place, scene in enumerate(order)]
    assert scenes_on(_screen(*shown)) == order


def test_an_icon_is_no_picture() -> None:
    assert scenes_on(_screen(_picture(1), _icon(), _picture(2))) == [1, 2]


def test_an_empty_folder_shows_nothing() -> None:
    assert scenes_on(_screen()) == []
