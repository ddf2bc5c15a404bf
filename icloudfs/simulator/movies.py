"""Movies: QuickTime files with Motion-JPEG frames, put together by hand.

Every player and prober reads Motion-JPEG, and each frame is a picture that pictures.py makes anyway.
Some files have their index (``moov``) first, as cameras' edited exports do, and some last, as cameras
write them: the second kind makes players seek to the end before they show anything.
"""

from __future__ import annotations

import random
import struct
from functools import lru_cache

from icloudfs.simulator import pictures
from icloudfs.simulator.blobs import Template
from icloudfs.simulator.pictures import FRAME, SCENES, Shape

_TIME_SCALE = 600
_QUICKTIME_EPOCH = 2_082_844_800
"""Seconds from 1904 to 1970."""
_IDENTITY = struct.pack(">9L", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def movie(
    scene: int,
    label: str,
    *,
    seconds: float,
    moov_first: bool,
    taken: int = 0,
    padding: int = 0,
    shape: Shape = FRAME,
) -> bytes:
    """A movie at ten frames a second, of 640×480 pixels unless it has another shape.

    ``taken`` is in milliseconds since the epoch; ``padding`` bytes go into a ``free`` box, between
    index and frames, to reach the size of a long one.
    """
    frames = [
        pictures.jpeg(shape, scene + i // 4, f"{label} {i:03}") for i in range(int(seconds * 10))
    ]
    return muxed(frames, rate=10, moov_first=moov_first, taken=taken, padding=padding, shape=shape)


def muxed(
    frames: list[bytes],
    *,
    rate: int,
    moov_first: bool,
    taken: int,
    padding: int = 0,
    shape: Shape = FRAME,
) -> bytes:
    """Put JPEG frames of one shape into a QuickTime file."""
    head = _box(b"ftyp", b"qt  " + struct.pack(">L", 0x20050300) + b"qt  ")
    free = _box(b"free", noise(padding)) if padding else b""
    data = _box(b"mdat", b"".join(frames))
    index_length = len(_moov(frames, rate, taken, 0, shape))
    before = len(head) + len(free) + (index_length if moov_first else 0)
    index = _moov(frames, rate, taken, before + 8, shape)
    return head + index + free + data if moov_first else head + free + data + index


@lru_cache(maxsize=4)
def noise(length: int) -> bytes:
    """So many bytes that do not compress; always the same ones."""
    block = random.Random(length).randbytes(65536)
    return (block * (length // len(block) + 1))[:length]


@lru_cache(maxsize=SCENES * 6)
def movie_template(scene: int, *, moov_first: bool, shape: Shape = FRAME) -> Template:
    """A short movie that takes a tail, in a ``free`` box at its end."""
    whole = movie(scene, "MOVIE", seconds=1.2, moov_first=moov_first, shape=shape)
    return Template(whole, pictures.BOX_TAIL)


def _moov(frames: list[bytes], rate: int, taken: int, data_at: int, shape: Shape) -> bytes:
    step = _TIME_SCALE // rate
    duration = step * len(frames)
    moment = max(0, taken // 1000 + _QUICKTIME_EPOCH)
    header = struct.pack(">LLLLLLH10x", 0, moment, moment, _TIME_SCALE, duration, 0x10000, 0x100)
    movie_header = _box(b"mvhd", header + _IDENTITY + bytes(24) + struct.pack(">L", 2))
    media = _media(frames, moment, step, data_at, shape)
    track = _box(b"trak", _track_header(moment, duration, shape) + media)
    return _box(b"moov", movie_header + track)


def _track_header(moment: int, duration: int, shape: Shape) -> bytes:
    head = struct.pack(">LLLLLL8xhhHH", 0xF, moment, moment, 1, 0, duration, 0, 0, 0, 0)
    size = struct.pack(">LL", shape.width << 16, shape.height << 16)
    return _box(b"tkhd", head + _IDENTITY + size)


def _media(frames: list[bytes], moment: int, step: int, data_at: int, shape: Shape) -> bytes:
    duration = step * len(frames)
    header = struct.pack(">LLLLLHH", 0, moment, moment, _TIME_SCALE, duration, 0x55C4, 0)
    handler = struct.pack(">L4s4s12x", 0, b"mhlr", b"vide") + b"\x05Video"
    data_handler = struct.pack(">L4s4s12x", 0, b"dhlr", b"url ") + b"\x04Data"
    reference = _box(b"dref", struct.pack(">LL", 0, 1) + _box(b"url ", struct.pack(">L", 1)))
    info = _box(
        b"minf",
        _box(b"vmhd", struct.pack(">LHHHH", 1, 0, 0, 0, 0))
        + _box(b"hdlr", data_handler)
        + _box(b"dinf", reference)
        + _samples(frames, step, data_at, shape),
    )
    return _box(b"mdia", _box(b"mdhd", header) + _box(b"hdlr", handler) + info)


def _samples(frames: list[bytes], step: int, data_at: int, shape: Shape) -> bytes:
    """The sample table: all frames lie in one chunk."""
    pixels = (shape.width, shape.height)
    entry = struct.pack(
        ">6xHHH4sLLHHLLLH", 1, 0, 0, b"icfs", 0, 512, *pixels, 72 << 16, 72 << 16, 0, 1
    )
    entry += b"\x04JPEG".ljust(32, b"\0") + struct.pack(">Hh", 24, -1)
    description = struct.pack(">LL", 0, 1) + _box(b"jpeg", entry)
    sizes = struct.pack(f">LLL{len(frames)}L", 0, 0, len(frames), *map(len, frames))
    return _box(
        b"stbl",
        _box(b"stsd", description)
        + _box(b"stts", struct.pack(">LLLL", 0, 1, len(frames), step))
        + _box(b"stsc", struct.pack(">LLLLL", 0, 1, 1, len(frames), 1))
        + _box(b"stsz", sizes)
        + _box(b"stco", struct.pack(">LLL", 0, 1, data_at)),
    )


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", 8 + len(content)) + kind + content
