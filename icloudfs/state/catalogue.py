"""What iCloud says: zones, masters, assets, albums and their relations, as rows.

Functions on a connection, within the caller's transaction. Each tells what it touched, so that the tree
can be made equal to it. Storing a record twice is the same as storing it once; ``listing`` is the number
of the zone's listing that saw it last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import apsw
import msgspec

from icloudfs.apple.records import (
    SUBSTITUTES,
    UNKNOWN_SIZE,
    Album,
    Area,
    Asset,
    Master,
    Relation,
    Resource,
    Zone,
)
from icloudfs.state import merging
from icloudfs.state.sight import is_in_sight

_encode = msgspec.json.Encoder(order="sorted").encode

FILE_PREFIXES = frozenset(
    {
        "resOriginal",
        "resOriginalAlt",
        "resOriginalVidCompl",
        "resJPEGFull",
        "resVidFull",
        "resVidCompl",
    }
)
"""Resources that are files in the mount. The small renditions are looked up when they are needed."""

_OF_A_MASTER_ALONE = FILE_PREFIXES.union(SUBSTITUTES)
"""Those of a master whose original cannot be had."""


def is_unmeasured(record: Master | Asset) -> bool:
    """Whether a content of it would be a file, if its size were known."""
    return any(
        prefix in FILE_PREFIXES and resource.size == UNKNOWN_SIZE
        for prefix, resource in record.resources.items()
    )


class StoredZone(msgspec.Struct, frozen=True):
    """A row of ``zone``."""

    id: int
    zone: Zone
    listed: bool
    """A listing was complete once."""
    listing: int
    relisting: bool
    indexing: str = ""
    """What Apple said of the library's indexes while they were not finished."""
    indexed: int | None = None
    """How far they were, in hundredths, if it was told."""


class Touched(msgspec.Struct):
    """What a page of records touched, to be placed in the tree: albums first, then photos."""

    albums: dict[str, None] = {}
    """Record names, in order, of albums whose directory may have moved, appeared or gone."""
    assets: dict[int, None] = {}
    """Row ids, in order; those of rows that are gone, too."""


NAMED = "zone az CROSS JOIN asset a ON a.zone = az.id AND a.name = {}"
"""The photos of a record name, in whatever library: an own album may hold photos of the shared library
(facts/cloudkit.md §1.12), and one that is moved keeps its name. An account has few zones, so asking the index
of (zone, name) in each costs less than another index would."""


def _query(connection: apsw.Connection) -> Callable[..., Any]:
    return connection.execute


# -- zones ---------------------------------------------------------------------------------------


def zones(connection: apsw.Connection) -> list[StoredZone]:
    """Every zone that is known, the personal library first."""
    return [
        StoredZone(
            ident, Zone(_area(area), name, owner), bool(listed), listing, bool(relisting), *indexing
        )
        for ident, area, name, owner, listed, listing, relisting, *indexing in _query(connection)(
            "SELECT id, area, name, owner, listed, listing, relisting, indexing, indexed FROM zone"
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


def set_listed(connection: apsw.Connection, zone: int, *, complete: bool = True) -> None:
    """The listing of a zone is at its end. ``complete``: no photo of it can be missing, as far as iCloud
    tells; a zone that was complete once stays so, since nothing that still exists leaves the tree."""
    connection.execute(
        "UPDATE zone SET listed = 1, relisting = 0, complete = max(complete, ?) WHERE id = ?",
        (complete, zone),
    )
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
    """How many photos of a zone its newest listing saw where, to be compared with iCloud's counts."""

    visible: int
    """Neither hidden nor deleted, without the frames that a burst keeps to itself."""
    hidden: int
    deleted: int
    bursts: int
    """All frames of bursts in sight, those included that a burst keeps to itself."""


def counts(connection: apsw.Connection, zone: int) -> Counts:
    visible, hidden, deleted, bursts = _query(connection)(
        f"SELECT count(*) FILTER (WHERE {is_in_sight('a')}),"
        " count(*) FILTER (WHERE hidden AND NOT deleted), count(*) FILTER (WHERE deleted),"
        " count(*) FILTER (WHERE burst <> '' AND NOT (hidden OR deleted))"
        # +: along the table. By the index on the zone it would be a hunt that takes fifteen times as long.
        " FROM asset a WHERE +zone = ?1 AND NOT expunged"
        " AND listing = (SELECT listing FROM zone WHERE id = ?1)",
        (zone,),
    ).fetchone()
    return Counts(visible, hidden, deleted, bursts)


def note_indexing(connection: apsw.Connection, zone: int, state: str, percent: int | None) -> None:
    """What Apple says of a library's indexes; '' when they are finished."""
    connection.execute(
        "UPDATE zone SET indexing = ?, indexed = ? WHERE id = ?", (state, percent, zone)
    )


def note_excess(connection: apsw.Connection, zone: int, photos: int) -> None:
    """How many photos iCloud counts beyond those that it gives."""
    connection.execute("UPDATE zone SET excess = ? WHERE id = ?", (photos, zone))


def note_album_excess(connection: apsw.Connection, zone: int, photos: int) -> None:
    """The same of its albums, all of them together."""
    connection.execute("UPDATE zone SET album_excess = ? WHERE id = ?", (photos, zone))


def albums_with_members(connection: apsw.Connection, zone: int) -> dict[str, int]:
    """Every album of a zone that is not deleted, and how many photos in sight it is known to hold,
    of whatever library."""
    return dict(
        _query(connection)(
            "SELECT b.name, (SELECT count(*) FROM relation r"
            " WHERE r.zone = b.zone AND r.album = b.name AND EXISTS"
            f" (SELECT 1 FROM {NAMED.format('r.asset')} WHERE {is_in_sight('a')}))"
            " FROM album b WHERE b.zone = ? AND b.kind = 0 AND NOT b.deleted",
            (zone,),
        )
    )


def listed_members(connection: apsw.Connection, zone: int, album: str) -> int:
    """How many photos iCloud's list of an album holds, as far as we know: those of its own library that
    are in sight."""
    row = _query(connection)(
        "SELECT count(*) FROM relation r JOIN asset a ON a.zone = r.zone AND a.name = r.asset"
        f" WHERE r.zone = ? AND r.album = ? AND {is_in_sight('a')}",
        (zone, album),
    ).fetchone()
    return int(row[0])


def album_told(connection: apsw.Connection, zone: int, name: str) -> str:
    """An album's members, in a person's words."""
    row = _query(connection)(
        "SELECT title FROM album WHERE zone = ? AND name = ?", (zone, name)
    ).fetchone()
    return f"the photos in the album '{row[0] if row and row[0] else name}'"


def members_are_due(connection: apsw.Connection, zone: int) -> bool:
    """Whether photos came back into sight since the albums' members were last compared."""
    row = _query(connection)("SELECT members_due FROM zone WHERE id = ?", (zone,)).fetchone()
    return row is not None and bool(row[0])


def set_members_due(connection: apsw.Connection, zone: int, *, due: bool) -> None:
    connection.execute("UPDATE zone SET members_due = ? WHERE id = ?", (due, zone))


def set_all_members_due(connection: apsw.Connection) -> None:
    """Photos came that may be in albums of any library."""
    connection.execute("UPDATE zone SET members_due = 1")


def relations_are_read(connection: apsw.Connection, zone: int) -> bool:
    """Whether the zone's history was read for relations since its last listing began."""
    row = _query(connection)(
        "SELECT relations_read = listing FROM zone WHERE id = ?", (zone,)
    ).fetchone()
    return row is not None and bool(row[0])


def set_relations_read(connection: apsw.Connection, zone: int) -> None:
    connection.execute("UPDATE zone SET relations_read = listing WHERE id = ?", (zone,))


def has_foreign_members(connection: apsw.Connection, zone: int) -> bool:
    """Whether an album of the zone is known to hold a photo that is not of the zone, or nowhere."""
    row = _query(connection)(
        "SELECT EXISTS (SELECT 1 FROM relation r WHERE +r.zone = ?1"
        " AND NOT EXISTS (SELECT 1 FROM asset a WHERE a.zone = ?1 AND a.name = r.asset))",
        (zone,),
    ).fetchone()
    return bool(row[0])


# -- records that are owed -----------------------------------------------------------------------


def owe(connection: apsw.Connection, zone: int, name: str, reason: str) -> None:
    """CloudKit refused to give this record; ask again later."""
    connection.execute(
        "INSERT INTO owed (zone, name, reason) VALUES (?, ?, ?)"
        " ON CONFLICT (zone, name) DO UPDATE SET reason = excluded.reason",
        (zone, name, reason),
    )


def without_master(connection: apsw.Connection, zone: int, masters: Sequence[str]) -> list[str]:
    """Which of these masters nobody has told of."""
    rows = connection.execute(
        "SELECT DISTINCT value FROM json_each(?) WHERE NOT EXISTS"
        " (SELECT 1 FROM master WHERE zone = ? AND name = value)",
        (_json(masters), zone),
    )
    return [str(name) for (name,) in rows]


def still_wanted(connection: apsw.Connection, zone: int, masters: Sequence[str]) -> list[str]:
    """Which of these masters, which are not here, photos point at."""
    rows = connection.execute(
        "SELECT value FROM json_each(?) WHERE EXISTS"
        " (SELECT 1 FROM asset WHERE zone = ? AND master = value)",
        (_json(masters), zone),
    )
    return [str(name) for (name,) in rows]


def settle_debts(connection: apsw.Connection, zone: int, names: Sequence[str]) -> None:
    """These records came, or are known to be gone."""
    connection.execute(
        "DELETE FROM owed WHERE zone = ? AND name IN (SELECT value FROM json_each(?))",
        (zone, _json(names)),
    )


def owed(connection: apsw.Connection, zone: int, limit: int, before: int) -> list[str]:
    """Names of records of a zone that CloudKit has yet to give: those that were last asked for before the turn
    ``before``, the longest ago first."""
    return [
        name
        for (name,) in _query(connection)(
            "SELECT name FROM owed WHERE zone = ? AND asked < ? ORDER BY asked, name LIMIT ?",
            (zone, before, limit),
        )
    ]


def next_turn(connection: apsw.Connection, zone: int) -> int:
    """A number for a round of asking for what is owed: greater than that of any before."""
    (last,) = _query(connection)(
        "SELECT coalesce(max(asked), 0) FROM owed WHERE zone = ?", (zone,)
    ).fetchone()
    return int(last) + 1


def note_asked(connection: apsw.Connection, zone: int, names: Sequence[str], turn: int) -> None:
    """These were asked for; what is still owed of them comes last from now on."""
    connection.execute(
        "UPDATE owed SET asked = ? WHERE zone = ? AND name IN (SELECT value FROM json_each(?))",
        (turn, zone, _json(names)),
    )


def owed_count(connection: apsw.Connection) -> int:
    """How many records CloudKit has yet to give, and was asked for."""
    (count,) = _query(connection)("SELECT count(*) FROM owed WHERE asked > 0").fetchone()
    return int(count)


# -- records -------------------------------------------------------------------------------------

# A page is looked up with one query a kind and written with one statement a kind, not record by record
# (figures: tree/placing.py).

_MASTER_COLUMNS = ", ".join(merging.MASTER.columns)
_MASTER_RESOURCES = merging.MASTER.columns.index("resources")


def store_masters(
    connection: apsw.Connection,
    zone: int,
    listing: int,
    masters: Sequence[Master],
    touched: Touched,
    *,
    asked_for: bool = False,
) -> list[str]:
    """Store the masters of a page; the assets of those that changed are touched.

    Returns the names of those that came in part, to be looked up; ``asked_for``: they are the answer to that.
    """
    query = _query(connection)
    names = _json([master.name for master in masters])
    known = {
        name: (seen, row)
        for name, seen, *row in query(
            f"SELECT name, listing, {_MASTER_COLUMNS} FROM master"
            " WHERE zone = ? AND name IN (SELECT value FROM json_each(?))",
            (zone, names),
        )
    }
    changed, seen_again, partial = [], [], []
    for master in masters:
        seen, old = known.get(master.name, (0, None))
        row = [
            master.filename,
            master.uti,
            _stored_of_master(master, old[_MASTER_RESOURCES] if old else None),
            master.width,
            master.height,
            master.modified,
        ]
        row, in_part = merging.merged(merging.MASTER, row, old, master.came, asked_for=asked_for)
        if in_part:
            partial.append(master.name)
        if row != old:
            changed.append((zone, master.name, *row, listing))
        elif seen != listing:
            seen_again.append((listing, zone, master.name))
    connection.executemany(
        "INSERT OR REPLACE INTO master VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", changed
    )
    connection.executemany("UPDATE master SET listing = ? WHERE zone = ? AND name = ?", seen_again)
    _touch_assets_of(query, zone, [str(row[1]) for row in changed], touched)
    return partial


def _touch_assets_of(
    query: Callable[..., Any], zone: int, masters: Sequence[str], touched: Touched
) -> None:
    for (asset,) in query(
        "SELECT a.id FROM json_each(?) j CROSS JOIN asset a ON a.zone = ? AND a.master = j.value",
        (_json(masters), zone),
    ):
        touched.assets[asset] = None


_ASSET_NAMES = merging.ASSET.columns
_ASSET_COLUMNS = ", ".join(_ASSET_NAMES)
_HIDDEN, _DELETED = _ASSET_NAMES.index("hidden"), _ASSET_NAMES.index("deleted")
_RESOURCES = _ASSET_NAMES.index("resources")
_ASSET_MARKS = ", ".join("?" * len(_ASSET_NAMES))
_ASSET_UPDATES = ", ".join(f"{name} = ?" for name in _ASSET_NAMES)


def store_assets(
    connection: apsw.Connection,
    zone: int,
    listing: int,
    assets: Sequence[Asset],
    touched: Touched,
    *,
    asked_for: bool = False,
) -> list[str]:
    """Store the assets of a page; those that are new or changed are touched.

    Returns the names of those that came in part, to be looked up; ``asked_for``: they are the answer to that.
    """
    query = _query(connection)
    names = _json([asset.name for asset in assets])
    known = {
        name: (ident, seen, row)
        for name, ident, seen, *row in query(
            f"SELECT name, id, listing, {_ASSET_COLUMNS} FROM asset"
            " WHERE zone = ? AND name IN (SELECT value FROM json_each(?))",
            (zone, names),
        )
    }
    new, changed, seen_again, partial = [], [], [], []
    came_back = False
    for asset in assets:
        ident, seen, old = known.get(asset.name, (0, 0, None))
        row = _asset_row(asset, old[_RESOURCES] if old else None)
        row, in_part = merging.merged(merging.ASSET, row, old, asset.came, asked_for=asked_for)
        if in_part:
            partial.append(asset.name)
        if old is None:
            new.append((zone, asset.name, listing, *row))
        elif row != old:
            changed.append((listing, *row, ident))
            touched.assets[ident] = None
            came_back |= _is_out_of_sight(old) and not _is_out_of_sight(row)
        elif seen != listing:
            seen_again.append((listing, ident))
    many = connection.executemany
    many(
        f"INSERT INTO asset (zone, name, listing, {_ASSET_COLUMNS})"
        f" VALUES (?, ?, ?, {_ASSET_MARKS})",
        new,
    )
    many(f"UPDATE asset SET listing = ?, {_ASSET_UPDATES} WHERE id = ?", changed)
    many("UPDATE asset SET listing = ? WHERE id = ?", seen_again)
    if came_back:
        set_members_due(connection, zone, due=True)
    _touch_assets(query, zone, [str(row[1]) for row in new], touched)
    return partial


def _is_out_of_sight(row: Sequence[Any]) -> bool:
    return bool(row[_HIDDEN] or row[_DELETED])


def _touch_assets(
    query: Callable[..., Any], zone: int, names: Sequence[str], touched: Touched
) -> None:
    for (ident,) in query(
        "SELECT id FROM asset WHERE zone = ? AND name IN (SELECT value FROM json_each(?))",
        (zone, _json(names)),
    ):
        touched.assets[ident] = None


def _touch_named(query: Callable[..., Any], names: Sequence[str], touched: Touched) -> None:
    """Touch the photos of these names in every library."""
    for (ident,) in query(
        f"SELECT a.id FROM json_each(?) j CROSS JOIN {NAMED.format('j.value')}", (_json(names),)
    ):
        touched.assets[ident] = None


def touch_namesakes(connection: apsw.Connection, touched: Touched) -> None:
    """A photo that is in two libraries under one name is in its albums in one of them: when one of the two
    changes, both are placed, together and before all others."""
    both: dict[int, None] = {}
    for one, other in _query(connection)(
        "SELECT t.id, a.id FROM json_each(?) j CROSS JOIN asset t ON t.id = j.value"
        f" CROSS JOIN {NAMED.format('t.name')} WHERE a.zone <> t.zone",
        (_json(list(touched.assets)),),
    ):
        both |= {one: None, other: None}
    if both:
        touched.assets = {**both, **touched.assets}


def _asset_row(asset: Asset, known: str | None) -> list[Any]:
    return [
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
        _json(asset.keywords),
        asset.latitude,
        asset.longitude,
        asset.altitude,
        _stored(asset.resources, FILE_PREFIXES, known),
        asset.created,
        asset.modified,
    ]


_Stored = dict[str, tuple[str, int, str]]
"""By wire prefix: checksum, size and type."""


def _stored_of_master(master: Master, known: str | None) -> str:
    """An original that a listing left out stays until a look-up says that it is not there; with it goes
    what was found in its place."""
    if master.original is not None:
        return _stored(master.resources, FILE_PREFIXES, known)
    stored = _stored(master.resources, _OF_A_MASTER_ALONE, known)
    if known is None or master.whole:
        return stored
    return _json(
        msgspec.json.decode(known, type=_Stored) | msgspec.json.decode(stored, type=_Stored)
    )


def _stored(resources: Mapping[str, Resource], prefixes: frozenset[str], known: str | None) -> str:
    """Those of ``prefixes``; a size that was measured once is ``known`` as long as the content is the
    same."""
    kept = {
        prefix: (r.checksum, r.size, r.uti) for prefix, r in resources.items() if prefix in prefixes
    }
    if known is not None and any(size == UNKNOWN_SIZE for _, size, _ in kept.values()):
        before = msgspec.json.decode(known, type=_Stored)
        for prefix, (checksum, size, uti) in kept.items():
            old = before.get(prefix)
            if size == UNKNOWN_SIZE and old is not None and old[0] == checksum:
                kept[prefix] = (checksum, old[1], uti)
    return _json(kept)


def _json(value: object) -> str:
    return _encode(value).decode()


def store_album(
    connection: apsw.Connection,
    zone: int,
    listing: int,
    album: Album,
    touched: Touched,
    *,
    asked_for: bool = False,
) -> bool:
    """Store an album. Returns whether it came in part and is to be looked up; one that nothing is known of
    is not stored then: it would be an untitled album at the top."""
    query = _query(connection)
    old = query(
        f"SELECT {', '.join(merging.ALBUM.columns)} FROM album WHERE zone = ? AND name = ?",
        (zone, album.name),
    ).fetchone()
    row: list[Any] = [
        album.title,
        album.kind,
        album.parent,
        int(album.deleted),
        album.position,
        album.created,
        album.modified,
    ]
    in_part = False
    if old is not None:
        row, in_part = merging.merged(merging.ALBUM, row, old, album.came, asked_for=asked_for)
    elif album.came is not None and album.came.isdisjoint({"title", "kind"}):
        return True
    query(
        "INSERT INTO album (zone, name, listing, title, kind, parent, deleted, position, created,"
        " modified) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (zone, name) DO UPDATE SET"
        # A name is given once and kept, until the album is called or lies somewhere else.
        " dirname = CASE WHEN (title, parent) = (excluded.title, excluded.parent) THEN dirname"
        " ELSE '' END,"
        " title = excluded.title, kind = excluded.kind, parent = excluded.parent,"
        " deleted = excluded.deleted, position = excluded.position, created = excluded.created,"
        " modified = excluded.modified, listing = excluded.listing",
        (zone, album.name, listing, *row),
    )
    # What its directory depends on: title, kind, folder, and whether it is deleted.
    if old is None or list(old[:4]) != row[:4]:
        touched.albums[album.name] = None
    if old is None or list(old[2:4]) != row[2:4]:
        # It may have lain in a deleted folder until now, where no list leads to: with its members.
        set_members_due(connection, zone, due=True)
    return in_part


def store_relations(
    connection: apsw.Connection,
    zone: int,
    listing: int,
    relations: Sequence[Relation],
    touched: Touched,
) -> None:
    """Store the memberships of a page; the assets of those that are new are touched."""
    query = _query(connection)
    living = [relation for relation in relations if not relation.deleted]
    known = {
        (asset, album): created
        for asset, album, created in query(
            "SELECT r.asset, r.album, r.created FROM json_each(?) j CROSS JOIN relation r"
            " ON r.zone = ? AND r.asset = j.value ->> 0 AND r.album = j.value ->> 1",
            (_json([(relation.asset, relation.album) for relation in living]), zone),
        )
    }
    connection.executemany(
        "INSERT INTO relation VALUES (?, ?, ?, ?, ?) ON CONFLICT (zone, asset, album)"
        " DO UPDATE SET created = excluded.created, listing = excluded.listing",
        [(zone, r.asset, r.album, r.created, listing) for r in living],
    )
    news = [r.asset for r in living if known.get((r.asset, r.album)) != r.created]
    _touch_named(query, news, touched)
    for relation in relations:
        if relation.deleted:
            remove_relation(connection, zone, relation.asset, relation.album, touched)


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
    """Its places in albums stay: they may be those of a photo of that name in another library, and when
    they go, iCloud says so by itself."""
    query = _query(connection)
    row = query(
        "DELETE FROM asset WHERE zone = ? AND name = ? RETURNING id", (zone, name)
    ).fetchone()
    if row is not None:
        touched.assets[row[0]] = None
        _touch_named(query, [name], touched)


def remove_master(connection: apsw.Connection, zone: int, name: str, touched: Touched) -> None:
    query = _query(connection)
    query("DELETE FROM master WHERE zone = ? AND name = ?", (zone, name))
    if connection.changes():
        _touch_assets_of(query, zone, [name], touched)


def remove_album(connection: apsw.Connection, zone: int, name: str, touched: Touched) -> None:
    query = _query(connection)
    query("DELETE FROM album WHERE zone = ? AND name = ?", (zone, name))
    if connection.changes():
        touched.albums[name] = None
        members = [
            asset
            for (asset,) in query(
                "DELETE FROM relation WHERE zone = ? AND album = ? RETURNING asset", (zone, name)
            )
        ]
        _touch_named(query, members, touched)


def remove_relation(
    connection: apsw.Connection, zone: int, asset: str, album: str, touched: Touched
) -> None:
    query = _query(connection)
    query("DELETE FROM relation WHERE zone = ? AND asset = ? AND album = ?", (zone, asset, album))
    if connection.changes():
        _touch_named(query, [asset], touched)


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
    return _names(connection, "asset", zone, limit)


def album_names(connection: apsw.Connection, zone: int, limit: int) -> list[str]:
    """Up to ``limit`` albums of a zone."""
    return _names(connection, "album", zone, limit)


def _names(connection: apsw.Connection, kind: Kind, zone: int, limit: int) -> list[str]:
    return [
        name
        for (name,) in _query(connection)(
            f"SELECT name FROM {kind} WHERE zone = ? LIMIT ?", (zone, limit)
        )
    ]


def note_seen(connection: apsw.Connection, kind: Kind, zone: int, name: str) -> None:
    """The zone's newest listing found this record, though in none of iCloud's lists."""
    asset, _, album = name.partition("-IN-")
    of, key = (
        ("asset = ? AND album = ?", (asset, album)) if kind == "relation" else ("name = ?", (name,))
    )
    connection.execute(
        f"UPDATE {kind} SET listing = (SELECT listing FROM zone WHERE id = ?) WHERE zone = ? AND {of}",
        (zone, zone, *key),
    )


def unseen(connection: apsw.Connection, zone: int, limit: int) -> list[tuple[Kind, str]]:
    """Up to ``limit`` records that the zone's newest listing did not see: gone from iCloud, or in none
    of its lists. What is owed is not among them.

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
                # +: along the table, as in ``counts``.
                f"SELECT {name} AS wire FROM {kind} WHERE +zone = ?1 AND listing < ?2"
                " AND wire NOT IN (SELECT name FROM owed WHERE zone = ?1) LIMIT ?3",
                (zone, listing, limit - len(found)),
            )
        )
    return found
