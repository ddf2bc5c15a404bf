"""What the folder looks like: which files a photo has, and in which directories they belong.

Pure: a photo goes in, its files and directories come out. Nothing here knows what is already in the
database; ``placing`` makes the one equal to the other. DESIGN §10 is the picture of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec

from icloudfs.apple.records import SUBSTITUTES, UNKNOWN_SIZE, Rendition
from icloudfs.apple.wire import PRIMARY_ZONE
from icloudfs.state.sight import BURST_CHOSEN, BURST_NOT_SELECTED
from icloudfs.tree import names
from icloudfs.tree.directory import ON_ASSET, WIRE_PREFIX
from icloudfs.tree.names import Stem

RECENT_DAYS = 30
UNKNOWN_DATE = "Unknown date"


class View(StrEnum):
    """The directories at the top, by their names."""

    LIBRARY = "Library"
    SHARED = "Shared Library"
    ALBUMS = "Albums"
    FAVORITES = "Favorites"
    RECENT = "Recent"
    VIDEOS = "Videos"
    LIVE = "Live Photos"
    SCREENSHOTS = "Screenshots"
    PANORAMAS = "Panoramas"
    SLO_MO = "Slo-mo"
    TIME_LAPSE = "Time-lapse"
    PORTRAIT = "Portrait"
    LONG_EXPOSURE = "Long Exposure"
    ANIMATED = "Animated"
    BURSTS = "Bursts"
    HIDDEN = "Hidden"
    DELETED = "Recently Deleted"


PRIVATE_VIEWS = frozenset({View.HIDDEN, View.DELETED})
"""Only by option, for the owner alone, and named in ``.hidden``."""

DEFAULT_VIEWS = frozenset(View) - PRIVATE_VIEWS

_AUTOMATIC_SLO_MO = "com.apple.video.slomo"
"""``adjustmentType`` of a video with which nothing was done but to slow down a part. Whatever a person does
besides (trim, crop, colours) makes Apple call it com.apple.video or com.apple.photo."""

# assetSubtype and assetSubtypeV2 (facts/cloudkit.md §1.8; V2 is an enumeration, §0.11)
_PANORAMA, _SLO_MO, _TIME_LAPSE = 1, 100, 101
_LIVE, _SCREENSHOT = 2, 3
# adjustmentRenderType
_PORTRAIT, _LONG_EXPOSURE = 2, 4


class StoredResource(msgspec.Struct, frozen=True, array_like=True):
    """A content as the database keeps it: without the URL, which expires."""

    checksum: str
    size: int
    uti: str = ""

    @property
    def is_measured(self) -> bool:
        """Whether its size is known. Else it cannot be shown: a file of 0 bytes would be taken for whole."""
        return self.size != UNKNOWN_SIZE


Resources = dict[str, StoredResource]


class Photo(msgspec.Struct, frozen=True, array_like=True):
    """An asset joined with its master, as far as the tree cares. Times: ms since the epoch."""

    id: int
    zone_name: str
    name: str
    taken: int | None
    added: int | None
    zone_offset: int
    favorite: bool
    hidden: bool
    deleted: bool
    expunged: bool
    subtype: int
    subtype_v2: int
    burst: str
    burst_flags: int
    adjustment: str
    render_type: int
    created: int
    modified: int
    asset_resources: Resources
    master_resources: Resources | None
    """None while the master is unknown."""
    filename: str
    uti: str
    master_modified: int

    @property
    def seniority(self) -> int:
        """When it came into the library: the older of two namesakes keeps the plain name."""
        return self.added if self.added is not None else self.created

    @property
    def is_video(self) -> bool:
        """By the original's type: QuickTime, MPEG-4 and their like (facts/cloudkit.md §1.8)."""
        return names.type_of(self.uti, self.filename) in names.MOVIES

    @property
    def is_animated(self) -> bool:
        """A GIF."""
        return names.type_of(self.uti, self.filename) == "GIF"

    @property
    def has_automatic_rendition(self) -> bool:
        """Its edited video was made by the phone alone: the original with its slow part baked in."""
        unedited_slo_mo = self.subtype == _SLO_MO and not self.adjustment
        return self.adjustment == _AUTOMATIC_SLO_MO or unedited_slo_mo

    @property
    def is_burst_reject(self) -> bool:
        """A frame of a burst that Photos keeps inside the stack."""
        return bool(
            self.burst
            and self.burst_flags & BURST_NOT_SELECTED
            and not self.burst_flags & BURST_CHOSEN
        )


class FileOf(msgspec.Struct, frozen=True):
    """One file of a photo: which rendition, which content, with which extension."""

    rendition: Rendition
    content: StoredResource
    extension: str


def stem(photo: Photo) -> Stem:
    return names.stem_of(photo.filename, photo.uti, photo.name)


def files(photo: Photo, of: Stem) -> Iterator[FileOf]:
    """Every file that the photo has now. None while its master is unknown."""
    if photo.master_resources is None:
        return
    contents = dict(_contents(photo, photo.master_resources))
    if Rendition.ORIGINAL in contents and photo.has_automatic_rendition:
        contents.pop(Rendition.EDITED_VIDEO, None)
    if not any(rendition in contents for rendition in _THE_PHOTO):
        contents |= _preview(photo, photo.master_resources)
    for rendition, content in contents.items():
        yield FileOf(rendition, content, _extension(rendition, content, of))


def main(found: list[FileOf]) -> FileOf | None:
    """The file that is the photo: the original, else the best there is."""
    by_rendition = {file.rendition: file for file in found}
    return next((by_rendition[r] for r in _THE_PHOTO if r in by_rendition), None)


_THE_PHOTO = (
    Rendition.ORIGINAL,
    Rendition.EDITED_VIDEO,
    Rendition.EDITED,
    Rendition.ALTERNATE,
    Rendition.PREVIEW,
)
"""What can stand for a photo, the best first. A live photo's video cannot."""


def _contents(photo: Photo, masters: Resources) -> Iterator[tuple[Rendition, StoredResource]]:
    for rendition, prefix in WIRE_PREFIX.items():
        resources = photo.asset_resources if rendition in ON_ASSET else masters
        content = resources.get(prefix)
        if content is not None and content.is_measured:
            yield rendition, content


def _preview(photo: Photo, masters: Resources) -> dict[Rendition, StoredResource]:
    """The best that Apple made of an original that cannot be had: of a video, a video."""
    made_of = "resVid" if photo.is_video else "resJPEG"
    for prefix in SUBSTITUTES:
        content = masters.get(prefix)
        if prefix.startswith(made_of) and content is not None and content.is_measured:
            return {Rendition.PREVIEW: content}
    return {}


_PICTURES = frozenset({Rendition.EDITED, Rendition.PREVIEW})


def _extension(rendition: Rendition, content: StoredResource, of: Stem) -> str:
    if rendition is Rendition.ORIGINAL:
        return of.extension
    fallback = "JPG" if rendition in _PICTURES else "MOV"
    known = names.extension_of(content.uti) if content.uti else fallback
    return names.extension_like(of, known)


def is_visible(photo: Photo) -> bool:
    """Whether it is where photos are looked for: neither hidden nor deleted. In SQL: ``state/sight``."""
    return not (photo.hidden or photo.deleted or photo.expunged)


def is_in_sight(photo: Photo) -> bool:
    """Whether it is in a month and in albums: visible, and not kept by its burst. In SQL: ``state/sight``."""
    return is_visible(photo) and not photo.is_burst_reject


def library(photo: Photo) -> View:
    """Which of the two libraries it lives in."""
    return View.LIBRARY if photo.zone_name == PRIMARY_ZONE else View.SHARED


def month(photo: Photo) -> tuple[str, ...]:
    """Its directory below the library: ('2024', '2024-05') by the photo's own time zone."""
    if photo.taken is None:
        return (UNKNOWN_DATE,)
    try:
        local = _EPOCH + timedelta(milliseconds=photo.taken, seconds=photo.zone_offset)
    except OverflowError:
        return (UNKNOWN_DATE,)
    return (f"{local.year:04}", f"{local.year:04}-{local.month:02}")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def smart_views(photo: Photo, now: int) -> Iterator[View]:
    """The flat directories a photo belongs to by itself; ``now`` in milliseconds since the epoch."""
    if photo.expunged:
        return
    if photo.deleted:
        yield View.DELETED
    elif photo.hidden:
        yield View.HIDDEN  # frames of a burst, too: no other directory has them
    elif not photo.is_burst_reject:
        yield from _kinds(photo, now)


def _kinds(photo: Photo, now: int) -> Iterator[View]:
    tests = (
        (View.FAVORITES, photo.favorite),
        (View.RECENT, is_recent(photo.added, now)),
        (View.VIDEOS, photo.is_video),
        (View.LIVE, photo.subtype_v2 == _LIVE),
        (View.SCREENSHOTS, photo.subtype_v2 == _SCREENSHOT),
        (View.PANORAMAS, photo.subtype == _PANORAMA),
        (View.SLO_MO, photo.subtype == _SLO_MO),
        (View.TIME_LAPSE, photo.subtype == _TIME_LAPSE),
        (View.PORTRAIT, photo.render_type & _PORTRAIT),
        (View.LONG_EXPOSURE, photo.render_type & _LONG_EXPOSURE),
        (View.ANIMATED, photo.is_animated),
    )
    return (view for view, belongs in tests if belongs)


def is_recent(added: int | None, now: int) -> bool:
    """Whether it was added in the last 30 days; both in milliseconds since the epoch."""
    return added is not None and added > recent_since(now)


def recent_since(now: int) -> int:
    """Milliseconds since the epoch: what was added later is recent."""
    return now - RECENT_DAYS * 86_400_000


def burst_directory(burst: str) -> str:
    """The name of a burst's directory below ``Bursts``: derived from its id, so it never changes."""
    return f"Burst {names.suffix_of(burst)}"
