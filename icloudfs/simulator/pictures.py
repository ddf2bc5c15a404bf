"""Pictures: real, decodable, each visibly its own.

Drawing and encoding a photo takes tens of milliseconds; a library of three hundred with its thumbnails
must be ready in less than a second. So a few scenes and an alphabet are encoded once per size, as JPEGs
with a restart marker after every cell of the grid. Between two restart markers the entropy-coded data
depends on nothing before it, and a new photo is put together from such pieces: the scene's rows, then
a label written with the alphabet's cells. PNG works the same way with deflate blocks.

Nothing here is random: the same call gives the same bytes in every process.
"""

from __future__ import annotations

import io
import random
import re
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from icloudfs.simulator.blobs import Template, Wrap

SCENES = 6
LETTERS = " 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_-.:"

_MCU = 16
"""Pixels a side of the smallest coded unit, at 4:2:0."""
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_DATE = "2000:01:02 03:04:05"
_OFFSET = "+01:02"
"""Placeholders in a template's EXIF; replaced in place by strings of the same length."""

PALETTES = (
    ("#12355b", "#f2a65a", "#fbe8d3"),
    ("#0b3d2e", "#7fb069", "#eef5db"),
    ("#3d0c4f", "#d66ba0", "#fde2f0"),
    ("#1b262c", "#3282b8", "#e3f2fd"),
    ("#4a2511", "#c97b3d", "#fff1dd"),
    ("#22223b", "#9a8c98", "#f2e9e4"),
)


@dataclass(frozen=True)
class Shape:
    """A size of picture: pixels, and the grid its label is written in."""

    width: int
    height: int
    cell: int
    """Width of one letter in pixels; the width is a multiple of it, and it of 16."""
    label_rows: int
    """Height of the label in rows of 16 pixels."""
    quality: int

    @property
    def columns(self) -> int:
        return self.width // self.cell

    @property
    def rows(self) -> int:
        return self.height // _MCU

    def turned(self) -> Shape:
        """The same, standing."""
        return Shape(self.height, self.width, self.cell, self.label_rows, self.quality)


ORIGINAL = Shape(1600, 1200, 80, 8, 82)
LARGE = Shape(3200, 2400, 160, 16, 95)
MEDIUM = Shape(1024, 768, 64, 6, 75)
THUMB = Shape(320, 240, 16, 2, 70)
PANORAMA = Shape(3200, 800, 80, 8, 82)
FRAME = Shape(640, 480, 32, 4, 60)
FRAME_MEDIUM = Shape(512, 384, 32, 4, 55)
FRAME_SMALL = Shape(320, 240, 16, 2, 50)


@dataclass(frozen=True)
class Exif:
    """What a photo says of itself."""

    date: str = _DATE
    """Local time, ``YYYY:MM:DD HH:MM:SS``."""
    offset: str = "+00:00"
    orientation: int = 1
    latitude: float | None = None
    longitude: float | None = None


def jpeg(shape: Shape, scene: int, label: str, exif: Exif | None = None) -> bytes:
    """A JPEG of a scene with a label across its lower edge."""
    sheet = _sheet(shape, scene % SCENES)
    text = label.upper().ljust(shape.columns)[: shape.columns]
    cells = [_alphabet(shape).get(letter, _alphabet(shape)[" "]) for letter in text]
    segments = [cell[row] for row in range(shape.label_rows) for cell in cells]
    start = sheet.segments
    marks = (b"\xff" + bytes([0xD0 + (start + i - 1) % 8]) for i in range(len(segments)))
    tail = b"".join(chain.from_iterable(zip(marks, segments, strict=True)))
    return b"\xff\xd8" + _app1(exif) + sheet.body + tail + b"\xff\xd9"


@dataclass(frozen=True)
class _Sheet:
    body: bytes
    """Everything from behind the start-of-image marker to where the label begins."""
    segments: int


@lru_cache(maxsize=64)
def _sheet(shape: Shape, scene: int) -> _Sheet:
    header, segments = _segments(draw_scene(scene, shape.width, shape.height), shape)
    kept = (shape.rows - shape.label_rows) * shape.columns
    out = bytearray(header)
    for i, segment in enumerate(segments[:kept]):
        if i:
            out += b"\xff" + bytes([0xD0 + (i - 1) % 8])
        out += segment
    return _Sheet(bytes(out), kept)


@lru_cache(maxsize=16)
def _alphabet(shape: Shape) -> dict[str, list[bytes]]:
    """For each letter its cells, one a row of the label."""
    height = shape.label_rows * _MCU
    strip = Image.new("RGB", (shape.cell * len(LETTERS), height), "#101010")
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size=min(height * 0.8, shape.cell * 1.4))
    for i, letter in enumerate(LETTERS):
        centre = (i * shape.cell + shape.cell // 2, height // 2)
        draw.text(centre, letter, fill="#ffffff", font=font, anchor="mm")
    _, segments = _segments(strip, shape)
    columns = len(LETTERS)
    return {
        letter: [segments[row * columns + i] for row in range(shape.label_rows)]
        for i, letter in enumerate(LETTERS)
    }


def _segments(image: Image.Image, shape: Shape) -> tuple[bytes, list[bytes]]:
    """Encode, and take apart: the header without start-of-image, and what lies between restarts."""
    out = io.BytesIO()
    image.save(
        out,
        "JPEG",
        quality=shape.quality,
        subsampling="4:2:0",
        restart_marker_blocks=shape.cell // _MCU,
    )
    data = out.getvalue()
    scan = data.index(b"\xff\xda")
    begin = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    return data[2:begin], _RESTART.split(data[begin:-2])


# -- scenes --------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def draw_scene(scene: int, width: int, height: int, sun: float = 0.3) -> Image.Image:
    """A landscape in one of SCENES palettes; ``sun`` is where it stands, 0 left to 1 right."""
    dark, middle, light = PALETTES[scene % len(PALETTES)]
    ramp = Image.linear_gradient("L").resize((width, height))
    sky = ImageOps.colorize(ramp, black=middle, white=light)
    draw = ImageDraw.Draw(sky)
    radius = min(width, height) // 9
    x, y = int(width * sun), height // 4 + scene * height // 40
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=light)
    chance = random.Random(scene)
    for layer in range(3):
        base = height * (5 + layer * 2) // 12
        points = [(0, height), (0, base)]
        for step in range(1, 9):
            rise = chance.randrange(height // 5)
            points.append((width * step // 8, base + height // 12 - rise))
        points.append((width, height))
        draw.polygon(points, fill=Image.blend(_dot(dark), _dot(middle), layer / 4).getpixel((0, 0)))
    return Image.blend(sky, _grain(width, height), 0.10)


def _dot(colour: str) -> Image.Image:
    return Image.new("RGB", (1, 1), colour)


@lru_cache(maxsize=4)
def _grain(width: int, height: int) -> Image.Image:
    """Film grain: it gives a photo the size of a photo."""
    chance = random.Random(7)
    raw = Image.frombytes("L", (width // 2, height // 2), chance.randbytes(width * height // 4))
    return raw.resize((width, height)).filter(ImageFilter.SMOOTH).convert("RGB")


# -- EXIF ----------------------------------------------------------------------------------------


def _app1(exif: Exif | None) -> bytes:
    if exif is None:
        return b""
    block = b"Exif\0\0" + exif_block(exif)
    return b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block


def exif_block(exif: Exif) -> bytes:
    """The TIFF structure of an EXIF block, without the ``Exif`` header."""
    template = _exif_template(exif.orientation, exif.latitude, exif.longitude)
    return dated(template, exif)


def dated(content: bytes, exif: Exif) -> bytes:
    """A template's bytes with the placeholders for date and offset filled in."""
    return content.replace(_DATE.encode(), exif.date.encode()).replace(
        _OFFSET.encode(), exif.offset.encode()
    )


@lru_cache(maxsize=256)
def _exif_template(orientation: int, latitude: float | None, longitude: float | None) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "icloudfs"
    exif[0x0110] = "Simulated Phone"
    exif[0x0112] = orientation
    exif[0x0132] = _DATE
    details = exif.get_ifd(0x8769)
    details[0x9003] = _DATE
    details[0x9004] = _DATE
    details[0x9010] = details[0x9011] = _OFFSET
    if latitude is not None and longitude is not None:
        place = exif.get_ifd(0x8825)
        place[1] = "N" if latitude >= 0 else "S"
        place[2] = _degrees(abs(latitude))
        place[3] = "E" if longitude >= 0 else "W"
        place[4] = _degrees(abs(longitude))
    return exif.tobytes().removeprefix(b"Exif\0\0")


def _degrees(value: float) -> tuple[float, float, float]:
    whole = int(value)
    minutes = (value - whole) * 60
    return float(whole), float(int(minutes)), round((minutes - int(minutes)) * 60, 2)


# -- the other formats ---------------------------------------------------------------------------


def turned_jpeg(scene: int, label: str, exif: Exif) -> bytes:
    """A standing photo stored lying, as phones do: EXIF orientation 6 says how to hold it."""
    upright = Image.open(io.BytesIO(jpeg(ORIGINAL.turned(), scene, label)))
    out = io.BytesIO()
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    block = b"Exif\0\0" + exif_block(exif)
    stored.save(out, "JPEG", quality=ORIGINAL.quality, exif=block)
    return out.getvalue()


SCREEN = (750, 1334)
"""Pixels of a screenshot."""
_SCREEN_LABEL = 80


def png(scene: int, label: str) -> bytes:
    """A screenshot."""
    body = _screen_body(scene % SCENES)
    width, height = SCREEN
    strip = Image.new("RGB", (width, _SCREEN_LABEL), "#101010")
    font = ImageFont.load_default(size=44)
    ImageDraw.Draw(strip).text((24, 40), label, fill="#ffffff", font=font, anchor="lm")
    raw = _unfiltered(strip)
    press = zlib.compressobj(1, wbits=-15)
    packed = body.deflated + press.compress(raw) + press.flush()
    data = b"\x78\x01" + packed + struct.pack(">I", zlib.adler32(raw, body.adler))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", data)
        + _chunk(b"IEND", b"")
    )


@dataclass(frozen=True)
class _Deflated:
    deflated: bytes
    adler: int


@lru_cache(maxsize=SCENES)
def _screen_body(scene: int) -> _Deflated:
    """A screenshot's rows down to its label, ending where a deflate stream can go on."""
    width, height = SCREEN
    dark, middle, light = PALETTES[scene]
    body = Image.new("RGB", (width, height - _SCREEN_LABEL), light)
    draw = ImageDraw.Draw(body)
    draw.rectangle((0, 0, width, 90), fill=dark)
    chance = random.Random(scene)
    for row in range(14):
        top = 120 + row * 80
        draw.rounded_rectangle((30, top, 90, top + 56), 12, fill=middle)
        draw.rectangle((110, top + 8, 150 + chance.randrange(520), top + 22), fill=dark)
        draw.rectangle((110, top + 32, 130 + chance.randrange(400), top + 44), fill=middle)
    raw = _unfiltered(body)
    press = zlib.compressobj(6, wbits=-15)
    return _Deflated(press.compress(raw) + press.flush(zlib.Z_FULL_FLUSH), zlib.adler32(raw))


def _unfiltered(image: Image.Image) -> bytes:
    """Rows of pixels, each behind PNG's filter byte 0."""
    pixels = image.tobytes()
    stride = image.width * 3
    rows = (pixels[at : at + stride] for at in range(0, len(pixels), stride))
    return b"".join(b"\0" + row for row in rows)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def heic(scene: int, exif: Exif) -> bytes:
    """A HEIC photo of 800×608 pixels. Encoding one is slow, so there is one of each scene."""
    return dated(_heic_template(scene % HEIC_SCENES, exif.orientation), exif)


HEIC_SCENES = 3
HEIC_SIZE = (800, 608)


@lru_cache(maxsize=16)
def _heic_template(scene: int, orientation: int) -> bytes:
    import pillow_heif  # slow to import, and a library without HEIC does not need it

    width, height = HEIC_SIZE
    image = draw_scene(scene, *HEIC_SIZE).copy()
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=64)
    draw.text((width // 2, height - 60), "HEIC", fill="#ffffff", font=font, anchor="mm")
    file = pillow_heif.from_pillow(image)
    out = io.BytesIO()
    block = b"Exif\0\0" + _exif_template(orientation, None, None)
    file.save(out, quality=45, exif=block, enc_params={"preset": "ultrafast"})
    return out.getvalue()


def gif(scene: int, label: str) -> bytes:
    """An animated GIF of three frames."""
    frames = []
    for step in range(3):
        frame = draw_scene(scene % SCENES, 320, 240, sun=0.2 + step * 0.3).copy()
        font = ImageFont.load_default(size=24)
        ImageDraw.Draw(frame).text((12, 210), label, fill="#ffffff", font=font)
        frames.append(frame.quantize(64))
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=300, loop=0)
    return out.getvalue()


def webp(scene: int, label: str) -> bytes:
    """A WebP picture."""
    image = Image.open(io.BytesIO(jpeg(FRAME, scene, label)))
    out = io.BytesIO()
    image.save(out, "WEBP", quality=80, method=0)
    return out.getvalue()


def dng(scene: int, label: str, exif: Exif) -> bytes:
    """A raw photo: a DNG whose first directory is a picture and whose SubIFD is the sensor."""
    preview = Image.open(io.BytesIO(jpeg(FRAME, scene, label))).convert("RGB")
    sensor = _sensor(scene % SCENES)
    tiff = _Tiff()
    raw = tiff.directory(
        [
            (0x00FE, "L", [0]),
            (0x0100, "L", [FRAME.width]),
            (0x0101, "L", [FRAME.height]),
            (0x0102, "H", [16]),
            (0x0103, "H", [1]),
            (0x0106, "H", [32803]),  # colour filter array
            (0x0111, "L", [tiff.place(sensor)]),
            (0x0115, "H", [1]),
            (0x0116, "L", [FRAME.height]),
            (0x0117, "L", [len(sensor)]),
            (0x828D, "H", [2, 2]),
            (0x828E, "B", [0, 1, 1, 2]),
        ]
    )
    pixels = preview.tobytes()
    times = tiff.directory([(0x9003, "s", exif.date), (0x9011, "s", exif.offset)])
    first = tiff.directory(
        [
            (0x00FE, "L", [1]),
            (0x0100, "L", [preview.width]),
            (0x0101, "L", [preview.height]),
            (0x0102, "H", [8, 8, 8]),
            (0x0103, "H", [1]),
            (0x0106, "H", [2]),
            (0x010F, "s", "icloudfs"),
            (0x0110, "s", "Simulated Phone"),
            (0x0111, "L", [tiff.place(pixels)]),
            (0x0112, "H", [exif.orientation]),
            (0x0115, "H", [3]),
            (0x0116, "L", [preview.height]),
            (0x0117, "L", [len(pixels)]),
            (0x0132, "s", exif.date),
            (0x014A, "L", [raw]),
            (0x8769, "L", [times]),
            (0xC612, "B", [1, 4, 0, 0]),  # DNGVersion
            (0xC613, "B", [1, 1, 0, 0]),
            (0xC614, "s", "icloudfs Simulated Phone"),
        ]
    )
    return tiff.finished(first)


@lru_cache(maxsize=SCENES)
def _sensor(scene: int) -> bytes:
    grey = draw_scene(scene, FRAME.width, FRAME.height).convert("L").tobytes()
    wide = bytearray(2 * len(grey))
    wide[1::2] = grey
    return bytes(wide)


_TIFF_TYPES = {"B": (1, 1), "s": (2, 1), "H": (3, 2), "L": (4, 4)}


class _Tiff:
    """A little-endian TIFF in the making: blocks first, directories behind what they point at."""

    def __init__(self) -> None:
        self._out = bytearray(8)

    def place(self, data: bytes) -> int:
        """Put data down; the offset it has."""
        at = len(self._out)
        self._out += data + b"\0" * (-len(data) % 4)
        return at

    def directory(self, entries: list[tuple[int, str, list[int] | str]]) -> int:
        """Put an IFD down; the offset it has."""
        table = bytearray(struct.pack("<H", len(entries)))
        for tag, kind, value in entries:
            code, size = _TIFF_TYPES[kind]
            packed = (
                value.encode() + b"\0"
                if isinstance(value, str)
                else struct.pack(f"<{len(value)}{kind}", *value)
            )
            inline = packed.ljust(4, b"\0")
            if len(packed) > 4:
                inline = struct.pack("<L", self.place(packed))
            table += struct.pack("<HHL", tag, code, len(packed) // size) + inline
        return self.place(bytes(table) + b"\0\0\0\0")

    def finished(self, first: int) -> bytes:
        self._out[:8] = b"II*\0" + struct.pack("<L", first)
        return bytes(self._out)


# -- templates: one scene for many photos --------------------------------------------------------

JPEG_TAIL = Wrap(before=b"", after=b"")
"""Bytes behind a JPEG's end-of-image marker are ignored by every reader."""
BOX_TAIL = Wrap(box=True)
GIF_TAIL = Wrap(before=b"", after=b"")


@lru_cache(maxsize=64)
def jpeg_template(shape: Shape, scene: int, label: str = "PHOTO") -> Template:
    """A JPEG that takes a tail."""
    exif = Exif() if shape in (ORIGINAL, LARGE, PANORAMA, ORIGINAL.turned()) else None
    return Template(jpeg(shape, scene, label, exif), JPEG_TAIL)


@lru_cache(maxsize=16)
def heic_template(scene: int) -> Template:
    """A HEIC that takes a tail, in a ``free`` box behind everything else."""
    return Template(heic(scene, Exif()), BOX_TAIL)


@lru_cache(maxsize=SCENES)
def png_template(scene: int) -> Template:
    """A PNG that takes a tail of 16 bytes, in an ancillary chunk before its end."""
    whole = png(scene, "SCREENSHOT")
    return Template(whole[:-12], PngTail())


class PngTail(Wrap, frozen=True):
    """A private ancillary chunk, then the end of the file."""

    def around(self, tail: bytes) -> bytes:
        return _chunk(b"icFs", tail) + _chunk(b"IEND", b"")
