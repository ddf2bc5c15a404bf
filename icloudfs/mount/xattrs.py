"""What iCloud knows of a photo, as extended attributes of its files. Read without fetching content.

``user.xdg.*`` and ``user.baloo.rating`` are what Gwenview and ``gio`` ask for; ``user.icloudfs.*`` is our own
(facts/desktop.md §2.2). A name that a file has no value for is neither listed nor answered.

What is true of this machine alone, and changes as photos are downloaded, is answered but not listed: else
``rsync -X``, which copies what is listed, would find every photo changed that it has just read.

What is listed fits where copies are put: together into the 4 KiB that ext4 has for all attributes of a file. A
``cp -a`` that meets more fails. The longest are left out of the list first, and answered all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone

import apsw
import msgspec

from icloudfs.tree.albums import ALBUM, is_root
from icloudfs.tree.memberships import is_of

USER = b"user."
"""What every name here begins with; those of other namespaces are the kernel's and the system's."""

THUMBNAIL = b"user.icloudfs.thumbnail"
"""A small JPEG. It comes from the network at first, so it is answered elsewhere (desktop.py); and it is never
listed: ``cp -a`` and backups would copy it with every file."""

LONGEST = 1 << 16
"""Bytes of a value: no kernel takes a larger one (``XATTR_SIZE_MAX``). What is longer is cut."""

LISTED = 4096 - 32 - 4 - 256
"""Bytes for all attributes that are listed of a file, as ext4 keeps them: one block, without its header, the
mark of its end, and what a label and an access list of the copy's own take."""

_ENTRY = 16
"""Bytes that ext4 takes for each, besides name and value; it rounds both up to fours."""

_QUERY = """
SELECT asset.name, asset.master, zone.name, asset.added, asset.taken, asset.zone_offset, asset.time_zone,
       coalesce(master.filename, ''), asset.latitude, asset.longitude, asset.favorite, asset.hidden,
       asset.width, asset.height, asset.duration, asset.caption, asset.description, asset.keywords,
       inode.checksum, content.status, content.pinned, content.sha256, asset.zone
  FROM inode
  JOIN asset ON asset.id = inode.asset
  JOIN zone ON zone.id = asset.zone
  LEFT JOIN master ON master.zone = asset.zone AND master.name = asset.master
  LEFT JOIN content ON content.checksum = inode.checksum
 WHERE inode.ino = ?
"""

_ALBUMS = f"""
WITH RECURSIVE way_up (zone, album, title, parent) AS (
    SELECT r.zone, album.name, album.title, album.parent FROM asset t
     CROSS JOIN relation r ON r.asset = t.name
      JOIN album ON album.zone = r.zone AND album.name = r.album
     WHERE t.zone = :zone AND t.name = :asset AND {is_of("t")}
       AND album.kind = {ALBUM} AND NOT album.deleted
    UNION
    SELECT way_up.zone, way_up.album, way_up.title, folder.parent FROM way_up
      JOIN album AS folder ON folder.zone = way_up.zone AND folder.name = way_up.parent
     WHERE NOT folder.deleted
)
SELECT album, title, parent FROM way_up ORDER BY title
"""
"""Every step of the way up from each album, as far as nothing on it is deleted. Two albums of one title are
two, and a folder that contains itself leads nowhere: UNION takes no step twice. The system's root folder may
have a record of its own, and then there is one step more beyond it."""


class Photo(msgspec.Struct, frozen=True, array_like=True):
    """One row of ``_QUERY`` and the albums it is in. Times in milliseconds, duration in seconds."""

    asset: str
    master: str
    library: str
    added: int | None
    taken: int | None
    zone_offset: int
    """Seconds east of UTC where it was taken."""
    time_zone: str
    original_name: str
    latitude: float | None
    longitude: float | None
    favorite: bool
    hidden: bool
    width: int
    height: int
    duration: float
    caption: str
    description: str
    keywords: list[str]
    checksum: str
    status: str | None
    pinned: bool | None
    sha256: str | None
    albums: list[str]


class Xattrs:
    """Answers from the asset's row, on the event loop's own connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def get(self, ino: int, name: bytes) -> bytes | None:
        """The value, or None if the file or directory has none of that name."""
        photo = self._photo(ino) if name in _VALUES else None
        value = None if photo is None else _VALUES[name](photo)
        return _cut(value.encode()) if value else None

    def names(self, ino: int) -> list[bytes]:
        """The names that have a value, but for those that are of this machine, as many as fit (``LISTED``)."""
        photo = self._photo(ino)
        if photo is None:
            return []
        costs = {
            name: _room(name, value)
            for name, make in _VALUES.items()
            if name not in _OF_THIS_MACHINE and (value := make(photo))
        }
        fitting = _smallest(costs, LISTED)
        return [name for name in costs if name in fitting]

    def _photo(self, ino: int) -> Photo | None:
        row = self._connection.execute(_QUERY, (ino,)).fetchone()
        if row is None:
            return None
        values = dict(zip(Photo.__struct_fields__, row, strict=True))
        keywords, asset, zone = str(values["keywords"]), values["asset"], values["albums"]
        steps = self._connection.execute(_ALBUMS, {"zone": zone, "asset": asset})
        titles = {album: title for album, title, parent in steps if is_root(str(parent))}
        decoded = {"keywords": msgspec.json.decode(keywords or "[]"), "albums": [*titles.values()]}
        return msgspec.convert([*(values | decoded).values()], Photo, strict=False)


def _cut(value: bytes) -> bytes:
    """As much of a text as an attribute can hold, no letter of it in halves."""
    if len(value) <= LONGEST:
        return value
    return value[: LONGEST - len(_MORE)].decode("utf-8", "ignore").encode() + _MORE


_MORE = "…".encode()


def _room(name: bytes, value: str) -> int:
    """Bytes that ext4 needs for it (the namespace of a name is not written out)."""
    name_length, value_length = len(name) - len(USER), len(value.encode())
    return _ENTRY + _fours(name_length) + _fours(value_length)


def _fours(length: int) -> int:
    return -(-length // 4) * 4


def _smallest(costs: Mapping[bytes, int], room: int) -> set[bytes]:
    """As many as fit, the smallest first; of two that cost the same the one that comes first."""
    fitting = set()
    for name, cost in sorted(costs.items(), key=lambda item: item[1]):
        room -= cost
        if room < 0:
            break
        fitting.add(name)
    return fitting


def _comment(photo: Photo) -> str:
    return "\n".join(text for text in (photo.caption, photo.description) if text)


def _tags(photo: Photo) -> str:
    """Separated by commas, so a comma within one becomes a space."""
    tags = [*photo.keywords, *photo.albums, *(["Favorite"] if photo.favorite else [])]
    return ",".join(dict.fromkeys(tag.replace(",", " ") for tag in tags))


def _rating(photo: Photo) -> str:
    """Baloo counts half stars: 10 is five of them."""
    return "10" if photo.favorite else ""


def _state(photo: Photo) -> str:
    """Where the bytes are: remote, partial, cached, pinned (cached and never evicted) or failed."""
    if photo.status == "downloaded":
        return "pinned" if photo.pinned else "cached"
    return photo.status or "remote"


def _status(photo: Photo) -> str:
    """As in the view ``assets``, but of this file: pending, downloaded or failed."""
    return photo.status if photo.status in ("downloaded", "failed") else "pending"


def _location(photo: Photo) -> str:
    latitude, longitude = _degrees(photo.latitude), _degrees(photo.longitude)
    return f"{latitude},{longitude}" if latitude and longitude else ""


def _degrees(angle: float | None) -> str:
    return "" if angle is None else f"{angle:.6f}"


def _duration(photo: Photo) -> str:
    seconds = photo.duration
    return f"{seconds:.3f}" if math.isfinite(seconds) and seconds > 0 else ""


def _dimensions(photo: Photo) -> str:
    return f"{photo.width}x{photo.height}" if photo.width and photo.height else ""


def _added(photo: Photo) -> str:
    return "" if photo.added is None else _iso(photo.added, UTC)


def _taken(photo: Photo) -> str:
    """On the clock of the place where it was taken."""
    if photo.taken is None:
        return ""
    return _iso(photo.taken, timezone(timedelta(seconds=photo.zone_offset)))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _iso(milliseconds: int, zone: timezone) -> str:
    """ISO 8601 in whole seconds, as the mtime; '' beyond the calendar (year 1 to 9999)."""
    try:
        return (_EPOCH + timedelta(seconds=milliseconds // 1000)).astimezone(zone).isoformat()
    except OverflowError:
        return ""


def _flag(value: bool) -> str:
    return "1" if value else "0"


_VALUES: dict[bytes, Callable[[Photo], str | None]] = {
    b"user.xdg.comment": _comment,
    b"user.xdg.tags": _tags,
    b"user.baloo.rating": _rating,
    b"user.icloudfs.asset": lambda photo: photo.asset,
    b"user.icloudfs.master": lambda photo: photo.master,
    b"user.icloudfs.library": lambda photo: photo.library,
    b"user.icloudfs.added": _added,
    b"user.icloudfs.taken": _taken,
    b"user.icloudfs.time_zone": lambda photo: photo.time_zone,
    b"user.icloudfs.original_name": lambda photo: photo.original_name,
    b"user.icloudfs.caption": lambda photo: photo.caption,
    b"user.icloudfs.description": lambda photo: photo.description,
    b"user.icloudfs.keywords": lambda photo: "\n".join(photo.keywords),
    b"user.icloudfs.location": _location,
    b"user.icloudfs.latitude": lambda photo: _degrees(photo.latitude),
    b"user.icloudfs.longitude": lambda photo: _degrees(photo.longitude),
    b"user.icloudfs.dimensions": _dimensions,
    b"user.icloudfs.duration": _duration,
    b"user.icloudfs.favorite": lambda photo: _flag(photo.favorite),
    b"user.icloudfs.hidden": lambda photo: _flag(photo.hidden),
    b"user.icloudfs.albums": lambda photo: "\n".join(photo.albums),
    b"user.icloudfs.status": _status,
    b"user.icloudfs.state": _state,
    b"user.icloudfs.checksum": lambda photo: photo.checksum,
    b"user.icloudfs.sha256": lambda photo: photo.sha256,
}
"""Every name, and how its value is made; an empty value means there is none."""

_OF_THIS_MACHINE = frozenset(
    {b"user.icloudfs.status", b"user.icloudfs.state", b"user.icloudfs.sha256"}
)
"""The SHA-256 is not Apple's: it is known once the content is here."""
