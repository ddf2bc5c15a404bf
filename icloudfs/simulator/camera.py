"""The camera: everything that one press of the button stores in iCloud.

A shot is the original with its companions (the live photo's video, the RAW beside the JPEG) and the
small renditions that iCloud makes of each. In a drawn library every picture shows its own number; in a
large one pictures come from templates and differ in a few bytes that no decoder looks at.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from icloudfs.simulator import movies, pictures
from icloudfs.simulator.blobs import Blob, Storehouse, blob_of
from icloudfs.simulator.movies import movie
from icloudfs.simulator.pictures import (
    FRAME,
    FRAME_MEDIUM,
    FRAME_SMALL,
    HEIC_SCENES,
    HEIC_SIZE,
    LARGE,
    MEDIUM,
    ORIGINAL,
    PANORAMA,
    SCENES,
    SCREEN,
    THUMB,
    Exif,
    Shape,
)
from icloudfs.simulator.rows import Resource

Kind = Literal[
    "heic",
    "jpeg",
    "turned",
    "large",
    "png",
    "screenshot",
    "live",
    "raw+jpeg",
    "dng",
    "panorama",
    "portrait",
    "gif",
    "webp",
    "video",
    "slomo",
    "timelapse",
    "long-video",
    "huge-video",
]

JPEG = "public.jpeg"
HEIC = "public.heic"
PNG = "public.png"
MOVIE = "com.apple.quicktime-movie"
DNG = "com.adobe.raw-image"
GIF = "com.compuserve.gif"
WEBP = "org.webmproject.webp"

EXTENSIONS: dict[str, str] = {
    "jpeg": "JPG",
    "turned": "JPG",
    "large": "JPG",
    "panorama": "JPG",
    "png": "PNG",
    "screenshot": "PNG",
    "raw+jpeg": "JPG",
    "dng": "DNG",
    "gif": "GIF",
    "webp": "WEBP",
    "video": "MOV",
    "slomo": "MOV",
    "timelapse": "MOV",
    "long-video": "MOV",
    "huge-video": "MOV",
}
"""File name extensions by kind; ``HEIC`` for every other one."""

VIDEOS = frozenset({"video", "slomo", "timelapse", "long-video", "huge-video"})
_LONG = 8 * 1024 * 1024
_HUGE = 40 * 1024 * 1024
_LARGE_TAIL = 2_400_000
_CLIP = 1.2
"""Seconds of a live photo's video."""


class Shot(msgspec.Struct, frozen=True):
    """What was stored."""

    uti: str
    resources: tuple[Resource, ...]
    orientation: int = 1
    duration: float = 0.0
    """Seconds; 0 for a picture."""
    clip: float = 0.0
    """Seconds of a live photo's video."""
    video: bool = False
    animated: bool = False

    @property
    def original(self) -> Blob:
        return self.resources[0].blob


class Moment(msgspec.Struct, frozen=True):
    """When and where: what goes into EXIF."""

    taken: int
    """Milliseconds since the epoch."""
    offset: int = 0
    """Seconds east of UTC."""
    latitude: float | None = None
    longitude: float | None = None

    def exif(self, orientation: int = 1) -> Exif:
        date = _local_date(self.taken / 1000 + self.offset)
        sign = "-" if self.offset < 0 else "+"
        hours, minutes = divmod(abs(self.offset) // 60, 60)
        zone = f"{sign}{hours:02}:{minutes:02}"
        return Exif(date, zone, orientation, self.latitude, self.longitude)


def _local_date(seconds: float) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y:%m:%d %H:%M:%S}"


class _Recipe:
    """A content that is drawn when it is asked for."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make

    def content(self, tail: bytes) -> bytes:
        return self._make() + tail


class Camera:
    """Makes shots and puts their contents into the storehouse."""

    def __init__(self, storehouse: Storehouse, seed: int, *, drawn: bool) -> None:
        self._storehouse = storehouse
        self._seed = seed
        self._drawn = drawn

    def shoot(self, kind: Kind, number: int, label: str, moment: Moment) -> Shot:
        """Take the picture or the movie. ``number`` makes it unlike every other of this library."""
        text = f"{number:05} {label}"
        if kind in VIDEOS:
            return self._movie(kind, number, text, moment)
        return self._picture(kind, number, text, moment)

    def instead(self, shot: Shot, file: Path) -> Shot:
        """The same shot with a file of this machine for its original: any size, any content.

        Raises OSError.
        """
        original, *others = shot.resources
        blob = self._stored(blob_of(_Recipe(file.read_bytes)))
        return msgspec.structs.replace(
            shot, resources=(msgspec.structs.replace(original, blob=blob), *others)
        )

    def edited(self, number: int, label: str, moment: Moment, version: int = 1) -> list[Resource]:
        """The renditions that an edit of a picture adds to its asset."""
        text = f"{number:05} EDIT {version} {label}"
        return [
            self._jpeg("resJPEGFull", ORIGINAL, number, text, moment),
            *self._small(number, text, ORIGINAL),
        ]

    def edited_live(
        self, number: int, label: str, moment: Moment, version: int = 1
    ) -> list[Resource]:
        """The renditions that an edit of a live photo adds to its asset: picture and video
        (facts/cloudkit.md §1.12)."""
        text = f"{number:05} EDIT {version} {label}"
        return [
            self._heic(number, moment, "resJPEGFull"),
            self._clip("resVidCompl", number, text, moment, seconds=_CLIP, moov_first=True),
            *self._small(number, text, ORIGINAL),
        ]

    def ramped(self, number: int, label: str) -> list[Resource]:
        """The rendition that a device makes of each slow-motion video by itself."""
        text = f"{number:05} RAMPS {label}"
        return [self._small_clip("resVidFull", FRAME, number, text)]

    def edited_movie(
        self, number: int, label: str, moment: Moment, version: int = 1
    ) -> list[Resource]:
        """The renditions that an edit of a movie adds to its asset."""
        text = f"{number:05} EDIT {version} {label}"
        clip = self._clip("resVidFull", number, text, moment, seconds=1.0, moov_first=True)
        return [clip, *self._small(number, text, FRAME)]

    # -- pictures --------------------------------------------------------------------------------

    def _picture(self, kind: Kind, number: int, text: str, moment: Moment) -> Shot:
        match kind:
            case "jpeg" | "large" | "panorama" | "raw+jpeg":
                shape = {"large": LARGE, "panorama": PANORAMA}.get(kind, ORIGINAL)
                original = self._jpeg("resOriginal", shape, number, text, moment)
                companions = [self._raw(number, text, moment)] if kind == "raw+jpeg" else []
                small = self._small(number, text, shape)
                return Shot(JPEG, (original, *companions, *small))
            case "turned":
                make = partial(
                    pictures.turned_jpeg, number % SCENES, text, moment.exif(orientation=6)
                )
                original = self._drawing("resOriginal", make, JPEG, ORIGINAL.width, ORIGINAL.height)
                small = self._small(number, text, ORIGINAL.turned())
                return Shot(JPEG, (original, *small), orientation=6)
            case "png" | "screenshot":
                standing = ORIGINAL.turned()
                return Shot(PNG, (self._png(number, text), *self._small(number, text, standing)))
            case "dng":
                make = partial(pictures.dng, number % SCENES, text, moment.exif())
                original = self._drawing("resOriginal", make, DNG, FRAME.width, FRAME.height)
                return Shot(DNG, (original, *self._small(number, text, FRAME)))
            case "gif":
                make = partial(pictures.gif, number % SCENES, text)
                original = self._drawing("resOriginal", make, GIF, 320, 240)
                return Shot(GIF, (original, *self._small(number, text, FRAME)), animated=True)
            case "webp":
                make = partial(pictures.webp, number % SCENES, text)
                original = self._drawing("resOriginal", make, WEBP, FRAME.width, FRAME.height)
                return Shot(WEBP, (original, *self._small(number, text, FRAME)))
            case _:
                return self._heic_shot(kind, number, text, moment)

    def _heic_shot(self, kind: Kind, number: int, text: str, moment: Moment) -> Shot:
        resources = [self._heic(number, moment)]
        if kind == "live":
            clip = self._clip(
                "resOriginalVidCompl", number, text, moment, seconds=_CLIP, moov_first=False
            )
            resources += [clip, *self._small_clips(number, text)]
        small = self._small(number, text, ORIGINAL)
        return Shot(HEIC, (*resources, *small), clip=_CLIP if kind == "live" else 0.0)

    def _heic(self, number: int, moment: Moment, prefix: str = "resOriginal") -> Resource:
        scene = number % HEIC_SCENES
        tail = self._tail(number, "" if prefix == "resOriginal" else prefix)
        if self._drawn:
            make = partial(_heic_with_tail, scene, moment.exif(), tail)
            blob = self._stored(blob_of(_Recipe(make)))
        else:
            blob = self._stored(pictures.heic_template(scene).blob(tail))
        return Resource(prefix, blob, HEIC, *HEIC_SIZE)

    def _png(self, number: int, text: str) -> Resource:
        if self._drawn:
            return self._drawing(
                "resOriginal", partial(pictures.png, number % SCENES, text), PNG, *SCREEN
            )
        template = pictures.png_template(number % SCENES)
        return Resource(
            "resOriginal", self._stored(template.blob(self._tail(number))), PNG, *SCREEN
        )

    def _raw(self, number: int, text: str, moment: Moment) -> Resource:
        make = partial(pictures.dng, number % SCENES, text, moment.exif())
        return self._drawing("resOriginalAlt", make, DNG, FRAME.width, FRAME.height)

    def _jpeg(self, prefix: str, shape: Shape, number: int, text: str, moment: Moment) -> Resource:
        if shape is LARGE:
            blob = blob_of(
                _Recipe(partial(_padded_jpeg, number % SCENES, text, moment.exif())),
                self._tail(number),
            )
        elif self._drawn:
            blob = blob_of(
                _Recipe(partial(pictures.jpeg, shape, number % SCENES, text, moment.exif()))
            )
        else:
            label = "EDITED" if prefix == "resJPEGFull" else "PHOTO"
            template = pictures.jpeg_template(shape, number % SCENES, label)
            blob = template.blob(self._tail(number, text))
        return Resource(prefix, self._stored(blob), JPEG, shape.width, shape.height)

    def _small(self, number: int, text: str, of: Shape) -> list[Resource]:
        """The two renditions that iCloud makes of everything, the right way up."""
        standing = of.height > of.width
        return [
            self._rendition("resJPEGMed", MEDIUM.turned() if standing else MEDIUM, number, text),
            self._rendition("resJPEGThumb", THUMB.turned() if standing else THUMB, number, text),
        ]

    def _rendition(self, prefix: str, shape: Shape, number: int, text: str) -> Resource:
        if self._drawn:
            blob = blob_of(_Recipe(partial(pictures.jpeg, shape, number % SCENES, text)))
        else:
            template = pictures.jpeg_template(shape, number % SCENES)
            blob = template.blob(self._tail(number, text))
        return Resource(prefix, self._stored(blob), JPEG, shape.width, shape.height)

    def _drawing(
        self, prefix: str, make: Callable[[], bytes], uti: str, width: int, height: int
    ) -> Resource:
        return Resource(prefix, self._stored(blob_of(_Recipe(make))), uti, width, height)

    # -- movies ----------------------------------------------------------------------------------

    def _movie(self, kind: Kind, number: int, text: str, moment: Moment) -> Shot:
        padding = {"long-video": _LONG, "huge-video": _HUGE}.get(kind, 0)
        seconds = 3.0 if padding else 2.0
        clip = self._clip(
            "resOriginal",
            number,
            text,
            moment,
            seconds=seconds,
            moov_first=kind == "long-video" or number % 2 == 0,
            padding=padding,
        )
        small = (*self._small(number, text, FRAME), *self._small_clips(number, text))
        return Shot(MOVIE, (clip, *small), duration=seconds, video=True)

    def _small_clips(self, number: int, text: str) -> list[Resource]:
        """The two renditions that iCloud makes of every video, a live photo's too
        (facts/cloudkit.md §1.12)."""
        return [
            self._small_clip("resVidMed", FRAME_MEDIUM, number, text),
            self._small_clip("resVidSmall", FRAME_SMALL, number, text),
        ]

    def _small_clip(self, prefix: str, shape: Shape, number: int, text: str) -> Resource:
        template = movies.movie_template(number % SCENES, moov_first=True, shape=shape)
        blob = self._stored(template.blob(self._tail(number, f"{prefix} {text}")))
        return Resource(prefix, blob, MOVIE, shape.width, shape.height)

    def _clip(
        self,
        prefix: str,
        number: int,
        text: str,
        moment: Moment,
        *,
        seconds: float,
        moov_first: bool,
        padding: int = 0,
    ) -> Resource:
        if self._drawn or padding:
            make = partial(
                movie,
                number % SCENES,
                text,
                seconds=seconds,
                moov_first=moov_first,
                taken=moment.taken,
                padding=padding,
            )
            blob = blob_of(_Recipe(make))
        else:
            template = movies.movie_template(number % SCENES, moov_first=moov_first)
            blob = template.blob(self._tail(number, text))
        return Resource(prefix, self._stored(blob), MOVIE, FRAME.width, FRAME.height)

    # -- contents --------------------------------------------------------------------------------

    def _tail(self, number: int, text: str = "") -> bytes:
        return struct.pack(">QQ", self._seed & (2**64 - 1), number) + text.encode()

    def _stored(self, blob: Blob) -> Blob:
        return self._storehouse.add(blob)


def _heic_with_tail(scene: int, exif: Exif, tail: bytes) -> bytes:
    return pictures.heic(scene, exif) + pictures.BOX_TAIL.around(tail)


def _padded_jpeg(scene: int, text: str, exif: Exif) -> bytes:
    """A photo of about 4 MB: bytes behind the end of a JPEG are no part of the picture."""
    return pictures.jpeg(LARGE, scene, text, exif) + movies.noise(_LARGE_TAIL)
