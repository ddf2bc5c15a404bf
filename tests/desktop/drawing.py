"""Pictures for the tests: drawn, nobody's photographs."""

from __future__ import annotations

import io
import random

from PIL import Image, ImageDraw


def jpeg(
    width: int = 320, height: int = 240, *, orientation: int = 1, noisy: bool = False
) -> bytes:
    """Its upper half is red and its lower half blue, before any orientation."""
    image = Image.new("RGB", (width, height), (0, 0, 255))
    ImageDraw.Draw(image).rectangle((0, 0, width, height // 2 - 1), fill=(255, 0, 0))
    if noisy:
        noise = random.Random(1).randbytes(width * height * 3)
        image = Image.blend(image, Image.frombytes("RGB", (width, height), noise), 0.5)
    exif = Image.Exif()
    exif[0x0112] = orientation
    written = io.BytesIO()
    image.save(written, "JPEG", quality=95, exif=exif)
    return written.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def is_red(image: Image.Image, across: float, down: float) -> bool:
    """Whether the picture is red at a place, given in parts of its width and height."""
    place = (int(image.width * across), int(image.height * down))
    colour = image.convert("RGB").getpixel(place)
    assert isinstance(colour, tuple)
    return colour[0] > colour[2]
