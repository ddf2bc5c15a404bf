"""CloudKit's photo records, as values.

The shapes here are what the rest of icloudfs knows of Apple's records; ``decode`` is the only
place that reads the wire's own form. Times are milliseconds since the epoch, sizes are bytes.
Source of every field: facts/cloudkit.md §1.6 and §1.8.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

import msgspec

Area = Literal["private", "shared"]
"""Which of the two databases a zone lives in."""


Came = frozenset[str] | None
"""Which attributes of a record its ``fields`` told of, resources by their wire prefix; None: all of them.

CloudKit leaves out a field that has no value, and at times fields that have one (facts/cloudkit.md §1.12).
So what did not come is not yet empty: ``state/merging`` decides.
"""


Damaged = bool
"""Whether a field of a record came with a value that cannot be read: it counts as not come, and the record is
looked up once."""


class Zone(msgspec.Struct, frozen=True):
    """A CloudKit zone: one photo library."""

    area: Area
    name: str
    owner: str = ""
    """``ownerRecordName``; must be sent for shared zones."""


class Rendition(StrEnum):
    """The forms of a photo that are files in the mount, and where each is on the wire."""

    ORIGINAL = "original"  # CPLMaster.resOriginalRes
    ALTERNATE = (
        "alternate"  # CPLMaster.resOriginalAltRes: the RAW of RAW+JPEG, or the other way round
    )
    LIVE_VIDEO = "live"  # CPLMaster.resOriginalVidComplRes
    EDITED = "edited"  # CPLAsset.resJPEGFullRes
    EDITED_VIDEO = "edited-video"  # CPLAsset.resVidFullRes
    EDITED_LIVE_VIDEO = "edited-live"  # CPLAsset.resVidComplRes
    PREVIEW = "preview"  # the best of SUBSTITUTES on the CPLMaster, where there is nothing better


SUBSTITUTES = (
    "resJPEGFull",
    "resJPEGLarge",
    "resJPEGMed",
    "resJPEGThumb",
    "resVidFull",
    "resVidMed",
    "resVidSmall",
)
"""Wire prefixes on CPLMaster of what Apple makes of an original, the best of each kind first."""

UNKNOWN_SIZE = -1
"""``Resource.size`` of a content whose size iCloud did not tell, or told as 0 though there are bytes."""


class Resource(msgspec.Struct, frozen=True):
    """One stored content: a ``res<Size>Res`` field and its siblings."""

    checksum: str
    """Apple's ``fileChecksum`` as received."""
    size: int
    """Bytes; UNKNOWN_SIZE until it was measured."""
    uti: str = ""
    """The ``…FileType``, e.g. ``public.heic``; may be empty."""
    url: str = ""
    """Where to download it; expires within the hour, so it is never stored. May be empty."""


class Master(msgspec.Struct, frozen=True):
    """CPLMaster: the file as it was taken or imported."""

    name: str
    filename: str = ""
    """Decoded ``filenameEnc``; may be empty."""
    uti: str = ""
    """``itemType``, else ``resOriginalFileType``; may be empty."""
    resources: dict[str, Resource] = {}
    """Keyed by wire prefix, e.g. ``resOriginal``, ``resJPEGMed``."""
    created: int = 0
    modified: int = 0
    deleted: bool = False
    """``fields.isDeleted``: it lies in Recently Deleted."""
    width: int = 0
    """Pixels of the original, before its orientation is applied; 0 if not told."""
    height: int = 0
    came: Came = None
    damaged: Damaged = False
    whole: bool = False
    """It was looked up with all that it may have: what it lacks is not there. Else it may have come with
    fewer fields than were asked for."""

    @property
    def original(self) -> Resource | None:
        """The original, if it can be had: with a checksum and a size."""
        found = self.resources.get("resOriginal")
        return found if found is not None and found.size != UNKNOWN_SIZE else None


class Asset(msgspec.Struct, frozen=True):
    """CPLAsset: a photo in the library. Several may point at one master."""

    name: str
    master: str = ""
    """``masterRef.recordName``; may be empty."""
    taken: int | None = None
    """``assetDate``."""
    added: int | None = None
    """``addedDate``."""
    time_zone_offset: int = 0
    """Seconds east of UTC where it was taken."""
    time_zone: str = ""
    favorite: bool = False
    hidden: bool = False
    deleted: bool = False
    expunged: bool = False
    """Gone from Recently Deleted too, but the record is still listed."""
    subtype: int = 0
    """``assetSubtype``: 1 panorama, 100 slo-mo, 101 time-lapse."""
    subtype_v2: int = 0
    """``assetSubtypeV2``: 2 live photo, 3 screenshot. An enumeration, not flags."""
    burst: str = ""
    """``burstId``."""
    burst_flags: int = 0
    adjustment: str = ""
    """``adjustmentType``; empty when not edited."""
    render_type: int = 0
    """``adjustmentRenderType``, a bit mask: 2 portrait, 4 long exposure."""
    orientation: int = 0
    width: int = 0
    """Pixels of the edited rendition; 0 for a photo without one."""
    height: int = 0
    duration: float = 0.0
    """Seconds, of a video or of a live photo's video."""
    caption: str = ""
    description: str = ""
    keywords: tuple[str, ...] = ()
    latitude: float | None = None
    longitude: float | None = None
    altitude: float | None = None
    resources: dict[str, Resource] = {}
    created: int = 0
    modified: int = 0
    came: Came = None
    damaged: Damaged = False


class Album(msgspec.Struct, frozen=True):
    """CPLAlbum: an album, a folder of albums, or one of the system's roots."""

    name: str
    title: str = ""
    kind: int = 0
    """``albumType``: 0 album, 3 folder, 6 smart album (kept by the device that made it)."""
    parent: str = ""
    """``parentId``; empty or ``----Root-Folder----`` at the top."""
    position: int = 0
    deleted: bool = False
    created: int = 0
    modified: int = 0
    came: Came = None
    damaged: Damaged = False


class Relation(msgspec.Struct, frozen=True):
    """CPLContainerRelation: one asset is in one album."""

    name: str
    album: str
    asset: str
    position: int = 0
    deleted: bool = False
    created: int = 0


class Tombstone(msgspec.Struct, frozen=True):
    """A record that is gone. The type is not told; ``{asset}-IN-{album}`` was a relation."""

    name: str


class Refused(msgspec.Struct, frozen=True):
    """CloudKit answered with an error in the place of one record."""

    name: str
    """Empty if it cannot be found: then it cannot be asked for again, and what follows its page is no token
    to go on from."""
    code: str
    reason: str = ""


class Other(msgspec.Struct, frozen=True):
    """A record of a type that icloudfs has no use for: CPLMemory, CPLPerson, CPLLibraryInfo …"""

    name: str
    type: str


def has_nameless(records: Iterable[Record]) -> bool:
    """Whether a record came whose name cannot be found."""
    return any(not record.name for record in records)


Record = Master | Asset | Album | Relation | Tombstone | Refused | Other

ROOT_FOLDERS = frozenset({"", "----Root-Folder----", "----Project-Root-Folder----"})
"""``parentId`` of what lies at the top, and the names of the system's own folders."""
