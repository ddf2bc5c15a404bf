"""What iCloud says: zones, masters, assets, albums and their relations, as rows.

Functions on a connection, within the caller's transaction. Each tells what it touched, so that the tree
can be made equal to it. Storing a record twice is the same as storing it once; ``listing`` is the number
of the zone's listing that saw it last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import apsw
import msgspec

from icloudfs.apple.records import Album, Area, Asset, Master, Relation, Resource, Zone

_encode = msgspec.json.Encoder(order="sorted").encode

FILE_PREFIXES = frozenset(
    {"resOriginal", "resOriginalAlt", "resOriginalVidCompl", "resJPEGFull", "resVidFull"}
)
"""Resources that are files in the mount. The small renditions are looked up when they are needed."""


class StoredZone(msgspec.Struct, frozen=True):
    """A row of ``zone``."""

    id: int
    zone: Zone
    listed: bool
    """A listing was complete once."""
    listing: int
    relisting: bool


class Touched(msgspec.Struct):
    """What a page of records touched, to be placed in the tree: albums first, then photos."""

    albums: dict[str, None] = {}
    """Record names, in order, of albums whose directory may have moved, appeared or gone."""
    assets: dict[int, None] = {}
    """Row ids, in order; those of rows that are gone, too."""


def _query(connection: apsw.Connection) -> Callable[..., Any]:
    return connection.execute


# -- zones ---------------------------------------------------------------------------------------


def zones(connection: apsw.Connection) -> list[StoredZone]:
    """Every zone that is known, the personal library first."""
    return [
        StoredZone(ident, Zone(_area(area), name, owner), bool(listed), listing, bool(relisting))
        for ident, area, name, owner, listed, listing, relisting in _query(connection)(
            "SELECT id, area, name, owner, listed, listing, relisting FROM zone"
            " ORDER BY name <> 'PrimarySync', id"
        )
    ]


def _area(value: str) -> Area:
    return "shared" if value == "shared" else "private"


def add_zone(connection: apsw.Connection, zone: Zone) -> int:
    """The id of a zone, made if it is new; a changed owner is noted."""
    (ident,) = _query(connection)(
        "INSERT INTO zone (area, name, owner) VALUES (?, ?, ?)"
        " ON CONFLICT (area, name) DO UPDATE SET owner = excluded.owner RETURNING id",
        (zone.area, zone.name, zone.owner),
    ).fetchone()
    return int(ident)


def zone_by_id(connection: apsw.Connection, ident: int) -> StoredZone:
    """The row as it is now."""
    return next(stored for stored in zones(connection) if stored.id == ident)


def remove_zone(connection: apsw.Connection, zone: int) -> None:
    """Forget a zone that has no photos any more, with everything that hangs on it."""
    connection.execute("DELETE FROM zone WHERE id = ?", (zone,))


def set_listed(connection: apsw.Connection, zone: int) -> None:
    """The listing of a zone is complete."""
    connection.execute("UPDATE zone SET listed = 1, relisting = 0 WHERE id = ?", (zone,))
    connection.execute("DELETE FROM listed_page WHERE zone = ?", (zone,))


def begin_relisting(connection: apsw.Connection, zone: int) -> None:
    """List a zone again from its first page; what is stored stays until the end."""
    connection.execute("UPDATE zone SET listing = listing + 1, relisting = 1 WHERE id = ?", (zone,))
    connection.execute("DELETE FROM listed_page WHERE zone = ?", (zone,))


def listed_ranks(connection: apsw.Connection, zone: int, name: str) -> set[int]:
    """The start ranks of a list whose pages are stored already."""
    return {
        rank
        for (rank,) in _query(connection)(
            "SELECT start_rank FROM listed_page WHERE zone = ? AND list = ?", (zone, name)
        )
    }


def note_listed(connection: apsw.Connection, zone: int, name: str, start_rank: int) -> None:
    """The page of a list is stored; said in the transaction that stores it."""
    connection.execute(
        "INSERT OR IGNORE INTO listed_page VALUES (?, ?, ?)", (zone, name, start_rank)
    )


class Counts(msgspec.Struct, frozen=True):
    """How many photos of a zone are where, to be compared with iCloud's own counts."""

    visible: int
    """Neither hidden nor deleted, without the frames that a burst keeps to itself."""
    hidden: int
    deleted: int


def counts(connection: apsw.Connection, zone: int) -> Counts:
    visible, hidden, deleted = _query(connection)(
        "SELECT count(*) FILTER (WHERE NOT hidden AND NOT deleted AND NOT ("
        "         burst <> '' AND burst_flags & 2 AND NOT burst_flags & 24)),"
        " count(*) FILTER (WHERE hidden AND NOT deleted), count(*) FILTER (WHERE deleted)"
        " FROM asset WHERE zone = ? AND NOT expunged",
        (zone,),
    ).fetchone()
    return Counts(visible, hidden, deleted)


# -- records that are owed -----------------------------------------------------------------------


def owe(connection: apsw.Connection, zone: int, name: str, reason: str) -> None:
    """CloudKit refused to give this record; ask again later."""
    connection.execute("INSERT OR REPLACE INTO owed VALUES (?, ?, ?)", (zone, name, reason))


def settle_debt(connection: apsw.Connection, zone: int, name: str) -> None:
    connection.execute("DELETE FROM owed WHERE zone = ? AND name = ?", (zone, name))


def owed(connection: apsw.Connection, zone: int, limit: int) -> list[str]:
    """Names of records of a zone that CloudKit has yet to give."""
    return [
        name
        for (name,) in _query(connection)(
            "SELECT name FROM owed WHERE zone = ? LIMIT ?", (zone, limit)
        )
    ]


# -- records -------------------------------------------------------------------------------------


def store_master(
    connection: apsw.Connection, zone: int, listing: int, master: Master, touched: Touched
) -> None:
    row = (
        master.filename,
        master.uti,
        _stored(master.resources),
        master.width,
        master.height,
        master.modified,
    )
    query = _query(connection)
    old = query(
        "SELECT filename, uti, resources, width, height, modified FROM master"
        " WHERE zone = ? AND name = ?",
        (zone, master.name),
    ).fetchone()
    if old == row:
        query(
            "UPDATE master SET listing = ? WHERE zone = ? AND name = ?",
            (listing, zone, master.name),
        )
        return
    query(
        "INSERT OR REPLACE INTO master VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (zone, master.name, *row, listing),
    )
    _touch_assets_of(query, zone, master.name, touched)


def _touch_assets_of(query: Callable[..., Any], zone: int, master: str, touched: Touched) -> None:
    for (asset,) in query(
        "SELECT id FROM asset WHERE zone = ? AND master = ?", (zone, master)
    ).fetchall():
        touched.assets[asset] = None


_ASSET_COLUMNS = (
    "master, taken, added, zone_offset, time_zone, favorite, hidden, deleted, expunged, subtype,"
    " subtype_v2, burst, burst_flags, adjustment, render_type, width, height, duration, caption,"
    " description, keywords, latitude, longitude, altitude, resources, created, modified"
)
_ASSET_MARKS = ", ".join("?" * len(_ASSET_COLUMNS.split(",")))
_ASSET_UPDATES = ", ".join(f"{name.strip()} = ?" for name in _ASSET_COLUMNS.split(","))


def store_asset(
    connection: apsw.Connection, zone: int, listing: int, asset: Asset, touched: Touched
) -> None:
    row = _asset_row(asset)
    query = _query(connection)
    old = query(
        f"SELECT id, {_ASSET_COLUMNS} FROM asset WHERE zone = ? AND name = ?", (zone, asset.name)
    ).fetchone()
    if old is None:
        (ident,) = query(
            f"INSERT INTO asset (zone, name, listing, {_ASSET_COLUMNS})"
            f" VALUES (?, ?, ?, {_ASSET_MARKS}) RETURNING id",
            (zone, asset.name, listing, *row),
        ).fetchone()
        touched.assets[ident] = None
    elif old[1:] == row:
        query("UPDATE asset SET listing = ? WHERE id = ?", (listing, old[0]))
    else:
        query(
            f"UPDATE asset SET listing = ?, {_ASSET_UPDATES} WHERE id = ?", (listing, *row, old[0])
        )
        touched.assets[old[0]] = None


def _asset_row(asset: Asset) -> tuple[Any, ...]:
    return (
        asset.master,
        asset.taken,
        asset.added,
        asset.time_zone_offset,
        asset.time_zone,
        int(asset.favorite),
        int(asset.hidden),
        int(asset.deleted),
        int(asset.expunged),
        asset.subtype,
        asset.subtype_v2,
        asset.burst,
        asset.burst_flags,
        asset.adjustment,
        asset.render_type,
        asset.width,
        asset.height,
        float(asset.duration),
        asset.caption,
        asset.description,
        _encode(asset.keywords).decode(),
        asset.latitude,
        asset.longitude,
        asset.altitude,
        _stored(asset.resources),
        asset.created,
        asset.modified,
    )


def _stored(resources: Mapping[str, Resource]) -> str:
    return _encode(
        {
            prefix: {"checksum": r.checksum, "size": r.size, "uti": r.uti}
            for prefix, r in resources.items()
            if prefix in FILE_PREFIXES
        }
    ).decode()


def store_album(
    connection: apsw.Connection, zone: int, listing: int, album: Album, touched: Touched
) -> None:
    row = (album.title, album.kind, album.parent, int(album.deleted))
    query = _query(connection)
    old = query(
        "SELECT title, kind, parent, deleted FROM album WHERE zone = ? AND name = ?",
        (zone, album.name),
    ).fetchone()
    query(
        "INSERT INTO album (zone, name, title, kind, parent, deleted, position, created, modified,"
        " listing) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (zone, name) DO UPDATE SET"
        # A name is given once and kept, until the album is called or lies somewhere else.
        " dirname = CASE WHEN (title, parent) = (excluded.title, excluded.parent) THEN dirname"
        " ELSE '' END,"
        " title = excluded.title, kind = excluded.kind, parent = excluded.parent,"
        " deleted = excluded.deleted, position = excluded.position, created = excluded.created,"
        " modified = excluded.modified, listing = excluded.listing",
        (zone, album.name, *row, album.position, album.created, album.modified, listing),
    )
    if old != row:
        touched.albums[album.name] = None


def store_relation(
    connection: apsw.Connection, zone: int, listing: int, relation: Relation, touched: Touched
) -> None:
    query = _query(connection)
    if relation.deleted:
        remove_relation(connection, zone, relation.asset, relation.album, touched)
        return
    query(
        "INSERT INTO relation VALUES (?, ?, ?, ?, ?) ON CONFLICT (zone, asset, album)"
        " DO UPDATE SET created = excluded.created, listing = excluded.listing",
        (zone, relation.asset, relation.album, relation.created, listing),
    )
    _touch_asset(query, zone, relation.asset, touched)


def _touch_asset(query: Callable[..., Any], zone: int, asset: str, touched: Touched) -> None:
    row = query("SELECT id FROM asset WHERE zone = ? AND name = ?", (zone, asset)).fetchone()
    if row is not None:
        touched.assets[row[0]] = None


# -- what is gone --------------------------------------------------------------------------------


def bury(connection: apsw.Connection, zone: int, name: str, touched: Touched) -> None:
    """A tombstone, which does not say what died: a relation tells by its name, the rest is tried."""
    asset, separator, album = name.partition("-IN-")
    if separator:
        remove_relation(connection, zone, asset, album, touched)
        return
    remove_asset(connection, zone, name, touched)
    remove_master(connection, zone, name, touched)
    remove_album(connection, zone, name, touched)


def remove_asset(connection: apsw.Connection, zone: int, name: str, touched: Touched) -> None:
    row = _query(connection)(
        "DELETE FROM asset WHERE zone = ? AND name = ? RETURNING id", (zone, name)
    ).fetchone()
    if row is not None:
        touched.assets[row[0]] = None
        connection.execute("DELETE FROM relation WHERE zone = ? AND asset = ?", (zone, name))


def remove_master(connection: apsw.Connection, zone: int, name: str, touched: Touched) -> None:
    query = _query(connection)
    query("DELETE FROM master WHERE zone = ? AND name = ?", (zone, name))
    if connection.changes():
        _touch_assets_of(query, zone, name, touched)


def remove_album(connection: apsw.Connection, zone: int, name: str, touched: Touched) -> None:
    query = _query(connection)
    query("DELETE FROM album WHERE zone = ? AND name = ?", (zone, name))
    if connection.changes():
        touched.albums[name] = None


def remove_relation(
    connection: apsw.Connection, zone: int, asset: str, album: str, touched: Touched
) -> None:
    query = _query(connection)
    query("DELETE FROM relation WHERE zone = ? AND asset = ? AND album = ?", (zone, asset, album))
    if connection.changes():
        _touch_asset(query, zone, asset, touched)


Kind = Literal["relation", "asset", "master", "album"]


def remove(connection: apsw.Connection, kind: Kind, zone: int, name: str, touched: Touched) -> None:
    """Remove a record whose kind is known; a relation by its name on the wire."""
    match kind:
        case "asset":
            remove_asset(connection, zone, name, touched)
        case "master":
            remove_master(connection, zone, name, touched)
        case "album":
            remove_album(connection, zone, name, touched)
        case "relation":
            asset, _, album = name.partition("-IN-")
            remove_relation(connection, zone, asset, album, touched)


def asset_names(connection: apsw.Connection, zone: int, limit: int) -> list[str]:
    """Up to ``limit`` assets of a zone."""
    return [
        name
        for (name,) in _query(connection)(
            "SELECT name FROM asset WHERE zone = ? LIMIT ?", (zone, limit)
        )
    ]


def unseen(connection: apsw.Connection, zone: int, limit: int) -> list[tuple[Kind, str]]:
    """Up to ``limit`` records that the zone's newest listing did not see: gone from iCloud.

    Relations come first and are named ``{asset}-IN-{album}``, as on the wire.
    """
    query = _query(connection)
    (listing,) = query("SELECT listing FROM zone WHERE id = ?", (zone,)).fetchone()
    found: list[tuple[Kind, str]] = []
    for kind, name in (
        ("relation", "asset || '-IN-' || album"),
        ("asset", "name"),
        ("master", "name"),
        ("album", "name"),
    ):
        found += (
            (kind, name)  # type: ignore[misc]
            for (name,) in query(
                f"SELECT {name} FROM {kind} WHERE zone = ? AND listing < ? LIMIT ?",
                (zone, listing, limit - len(found)),
            )
        )
    return found
