"""Small pictures in the forms that programs on this machine want. Everything here belongs in a thread."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from icloudfs.errors import ContentError

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 256
"""Pixels of the longer side of a PNG: what the standard calls ``large``."""

MOST_XATTR = 64 << 10
"""Bytes: the kernel takes no larger attribute."""

MOST_PIXELS = 20_000_000
"""Of a small picture, which should have a hundredth of that; a JPEG of some hundred bytes may have billions."""

_ORIENTATION = 0x0112  # of EXIF
_UPRIGHT = 1
_COLOURS = 256
_SMALLER = ((512, 85), (512, 70), (384, 60), (256, 50))
"""Pixels and quality, until it fits."""


def upright_jpeg(jpeg: bytes, most: int = MOST_XATTR) -> bytes:
    """The picture as a JPEG the right way up, of at most ``most`` bytes; as it is if it is that already.

    Apple's small pictures are upright, whatever the orientation of the original; only what is said in the
    JPEG itself counts. Raises ContentError.
    """
    image = _opened(jpeg)
    if len(jpeg) <= most and image.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT:
        return jpeg
    for side, quality in _SMALLER:
        written = io.BytesIO()
        _drawn(_opened(jpeg), side).save(written, "JPEG", quality=quality)
        if written.tell() <= most:
            return written.getvalue()
    raise ContentError("The small picture cannot be made small enough.")


def pngs(jpeg: bytes, texts: Iterable[Mapping[str, str]]) -> list[bytes]:
    """The picture as a PNG of at most ``SIDE`` pixels and 256 colours, the right way up: one with each of
    ``texts``. To draw it takes ten times as long as to write it.

    Every file manager takes a palette, which is a quarter of the size (facts/desktop.md §1.3).
    Raises ContentError.
    """
    drawn = _drawn(_opened(jpeg), SIDE).quantize(_COLOURS)
    return [_png(drawn, said) for said in texts]


def _png(drawn: Image, texts: Mapping[str, str]) -> bytes:
    from PIL import PngImagePlugin

    said = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        said.add_text(key, text)
    written = io.BytesIO()
    drawn.save(written, "PNG", pnginfo=said)
    return written.getvalue()


def _opened(jpeg: bytes) -> Image:
    from PIL import Image  # takes its time, and a mount that nobody looks at does without

    try:
        image = Image.open(io.BytesIO(jpeg), formats=("JPEG",))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ContentError(f"The small picture cannot be drawn: {error}") from error
    if image.width * image.height > MOST_PIXELS:
        raise ContentError(f"The small picture has {image.width} by {image.height} pixels.")
    return image


def _drawn(image: Image, side: int) -> Image:
    from PIL import ImageOps

    try:
        with suppress(OSError):
            image.draft("RGB", (side, side))  # decodes no more than is needed
        upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise ContentError(f"The small picture cannot be drawn: {error}") from error
    upright.thumbnail((side, side))
    return upright
