"""Which pictures are to be seen on a screenshot.

A file manager shows a folder's pictures on white, one beside the other. Whatever is not white and as
large as a picture is compared with the six scenes that the simulator's pictures show. An icon that
stands for a picture is none of them.

At the size of a thumbnail a picture's label cannot be read, so two pictures of one scene are the same here.
The order tells them apart: file managers sort by name, and so does whoever expects them.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageStat

from icloudfs.simulator import pictures

_WHITE = 222
"""The least that red, green and blue have in a file manager's background, its bars and its lines."""
_SMALLEST = 36
_LARGEST = 300
"""Pixels a side of a thumbnail."""
_FULL = 0.6
"""So much of its rectangle a picture fills at least: letters and frames fill less."""
_ALIKE = 20.0
"""Mean difference of a channel up to which a picture is taken for a scene; two scenes are 28 apart."""
_SAMPLE = (12, 12)

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Seen:
    """One picture on the screen."""

    scene: int
    box: Box


def pictures_on(screen: Image.Image) -> list[Seen]:
    """All of them, as one reads: row by row from the left."""
    found = []
    for box in _blots(screen):
        scene = scene_of(screen.crop(box))
        if scene is not None:
            found.append(Seen(scene, box))
    return _as_one_reads(found)


def scenes_on(screen: Image.Image) -> list[int]:
    """What they show."""
    return [seen.scene for seen in pictures_on(screen)]


def scene_of(picture: Image.Image) -> int | None:
    """Which of the simulator's scenes a picture shows, None if it is none of them."""
    sample = _sample(picture.convert("RGB"))
    standing = picture.height > picture.width
    distances = [
        _distance(sample, _reference(scene, standing=standing)) for scene in range(pictures.SCENES)
    ]
    nearest = min(distances)
    return distances.index(nearest) if nearest <= _ALIKE else None


@functools.cache
def _reference(scene: int, *, standing: bool) -> Image.Image:
    shape = pictures.THUMB.turned() if standing else pictures.THUMB
    return _sample(pictures.draw_scene(scene, shape.width, shape.height))


def _sample(picture: Image.Image) -> Image.Image:
    """Its middle in a few pixels, without what differs: label, emblems, rounded corners, film holes."""
    width, height = picture.size
    middle = (int(width * 0.15), int(height * 0.05), int(width * 0.85), int(height * 0.8))
    return picture.crop(middle).resize(_SAMPLE, Image.Resampling.BOX)


def _distance(one: Image.Image, other: Image.Image) -> float:
    means: list[float] = ImageStat.Stat(ImageChops.difference(one, other)).mean
    return sum(means) / len(means)


# -- what is not background ------------------------------------------------------------------------


def _blots(screen: Image.Image) -> list[Box]:
    """The rectangles around what hangs together and is as large as a picture."""
    return [
        blot.box
        for blot in _Blots(screen).found()
        if _SMALLEST <= blot.width <= _LARGEST
        and _SMALLEST <= blot.height <= _LARGEST
        and blot.area >= _FULL * blot.width * blot.height
    ]


@dataclass
class _Blot:
    box: Box
    area: int

    @property
    def width(self) -> int:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        return self.box[3] - self.box[1]

    def joined(self, other: _Blot) -> _Blot:
        (a, b, c, d), (e, f, g, h) = self.box, other.box
        return _Blot((min(a, e), min(b, f), max(c, g), max(d, h)), self.area + other.area)


class _Blots:
    """Joins the coloured stretches of each line with those of the line above that they touch."""

    def __init__(self, screen: Image.Image) -> None:
        red, green, blue = screen.split()
        darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
        self._width, self._height = screen.size
        self._mask = darkest.point([255] * _WHITE + [0] * (256 - _WHITE)).tobytes()
        self._blots: list[_Blot] = []
        self._part_of: list[int] = []

    def found(self) -> list[_Blot]:
        above: list[tuple[int, int, int]] = []
        for y in range(self._height):
            line = self._mask[y * self._width : (y + 1) * self._width]
            here = []
            for stretch in re.finditer(b"\xff+", line):
                begin, end = stretch.span()
                blot = self._new(_Blot((begin, y, end, y + 1), end - begin))
                for left, right, other in above:
                    if left < end and begin < right:
                        self._join(blot, other)
                here.append((begin, end, blot))
            above = here
        return [blot for i, blot in enumerate(self._blots) if self._part_of[i] == i]

    def _new(self, blot: _Blot) -> int:
        self._blots.append(blot)
        self._part_of.append(len(self._part_of))
        return len(self._part_of) - 1

    def _join(self, one: int, other: int) -> None:
        into, gone = self._root(other), self._root(one)
        if into != gone:
            self._blots[into] = self._blots[into].joined(self._blots[gone])
            self._part_of[gone] = into

    def _root(self, blot: int) -> int:
        while self._part_of[blot] != blot:
            self._part_of[blot] = blot = self._part_of[self._part_of[blot]]
        return blot


def _as_one_reads(found: list[Seen]) -> list[Seen]:
    rows: list[list[Seen]] = []
    for seen in sorted(found, key=lambda seen: seen.box[3]):
        middle = (seen.box[1] + seen.box[3]) // 2
        if rows and any(other.box[1] <= middle < other.box[3] for other in rows[-1]):
            rows[-1].append(seen)
        else:
            rows.append([seen])
    return [seen for row in rows for seen in sorted(row, key=lambda seen: seen.box[0])]
