"""The figures of ``status``, each from an index. Readable from any process, at any time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw
import msgspec

from icloudfs import pathtext
from icloudfs.state import catalogue, completeness, metadata, refusals
from icloudfs.state.sight import is_visible


class Counts(msgspec.Struct, frozen=True):
    """Photos by what is known of them, files by what the mount shows. Sizes in bytes."""

    total: int
    visible: int
    hidden: int
    deleted: int
    pending: int
    downloaded: int
    failed: int
    """With those that iCloud has no file of."""
    without_file: int
    """Photos that iCloud has no file of that can be had: no original, and nothing in its place."""
    files: int
    """Files in the mount, each counted once."""
    entries: int
    """Files in the mount as ``find -type f`` counts them: once for each place."""
    bytes: int
    """Of all files, each counted once."""
    bytes_downloaded: int
    """Of the files whose content is here. An imported one counts, though it is not in the cache."""
    bytes_failed: int
    bytes_pending: int


class WithoutFile(msgspec.Struct, frozen=True):
    """A photo that no directory can show."""

    asset: str
    filename: str
    """As iCloud calls it; may be empty."""
    zone: str
    reason: str


class CacheUse(msgspec.Struct, frozen=True):
    directory: str | None
    contents: int
    bytes: int


class ZoneState(msgspec.Struct, frozen=True):
    name: str
    area: str
    listed: bool
    photos: int
    has_token: bool
    token_received: float | None
    """Seconds since the epoch; while nothing changes, iCloud gives no newer one."""
    indexing: str | None = None
    """What Apple says of the library's indexes, until they are finished (sync/indexing.py)."""
    indexed_percent: int | None = None
    """How far they are, if it was told."""
    excess: int = 0
    """Photos that iCloud counts and gives in no list and no history."""
    album_excess: int = 0
    """The same of its albums, all of them together."""


class RefusedPart(msgspec.Struct, frozen=True):
    """What iCloud refuses to give while it gives the rest. Times in seconds since the epoch."""

    area: str
    zone: str
    """Empty for what belongs to the area."""
    part: str
    """'libraries', 'library', 'changes', 'counts', 'lookup', 'albums', 'list:ALL', 'folder:X', 'members:X'"""
    told: str
    """The same in words."""
    code: str
    reason: str
    since: float
    tries: int
    next_at: float
    """From when on it is asked for again."""
    harmless: bool
    """What this account was never given, or what a library's history stands in for: no failure."""


class Run(msgspec.Struct, frozen=True):
    """Times in seconds since the epoch."""

    started_at: float
    completed_at: float | None
    kind: str
    assets_seen: int
    assets_downloaded: int
    assets_failed: int
    api_calls: int
    bytes: int
    interrupted: bool
    error: str | None
    refused: list[str]
    """What iCloud refused to give when the run ended, in words."""


class Summary(msgspec.Struct, frozen=True):
    complete: bool
    """Whether everything that iCloud has is known; until then listings of directories end with EAGAIN."""
    assets: Counts
    cache: CacheUse
    zones: list[ZoneState]
    runs: list[Run]
    """The newest first."""
    without_file: list[WithoutFile]
    """The first twenty of them."""
    refused: list[RefusedPart]
    refused_records: int
    """Records that iCloud refuses one by one."""


def summarise(connection: apsw.Connection, runs: int = 5) -> Summary:
    """Everything at once, in one read transaction."""
    query: Callable[..., Any] = connection.execute
    query("BEGIN")
    try:
        return Summary(
            complete=completeness.misses_nothing(connection),
            assets=_counts(query),
            cache=_cache(query),
            zones=_zones(connection),
            runs=[_run(row) for row in query(_RUNS, (runs,))],
            without_file=[WithoutFile(*row) for row in query(_WITHOUT_FILE, (_MOST_NAMED,))],
            refused=[_refused(refusal) for refusal in refusals.refusals(connection)],
            refused_records=catalogue.owed_count(connection),
        )
    finally:
        query("COMMIT")


_MOST_NAMED = 20

_WITHOUT_FILE = (
    "SELECT asset_id, filename, zone, last_error FROM assets"
    " WHERE checksum = '' AND status = 'failed' LIMIT ?"
)

_RUNS = (
    "SELECT started_at, completed_at, kind, assets_seen, assets_downloaded, assets_failed,"
    " api_calls, bytes, interrupted, error, refused FROM sync_runs ORDER BY id DESC LIMIT ?"
)


def _run(row: tuple[Any, ...]) -> Run:
    values = dict(zip(Run.__struct_fields__, row, strict=True))
    values["refused"] = msgspec.json.decode(values["refused"])
    return msgspec.convert(values, Run, strict=False)  # SQLite has no booleans


def _refused(refusal: refusals.Refusal) -> RefusedPart:
    part = refusal.part
    return RefusedPart(
        *(part.area, part.zone, part.part, str(part), refusal.code, refusal.reason),
        since=refusal.since / 1000,
        tries=refusal.tries,
        next_at=refusal.next_at / 1000,
        harmless=refusal.harmless,
    )


def knows_a_library(connection: apsw.Connection) -> bool:
    """False for a database that was made before iCloud told of anything: its zeros mean nothing."""
    return connection.execute("SELECT 1 FROM zone LIMIT 1").fetchone() is not None


def visible_photos(connection: apsw.Connection) -> int:
    """How many are neither hidden nor deleted: a small part of what ``summarise`` takes."""
    return _photos(connection.execute)[1]


def _photos(query: Callable[..., Any]) -> tuple[int, int, int, int]:
    """All, those visible, those hidden, and those deleted; what is expunged is none of the three."""
    total, visible, hidden, deleted = query(
        f"SELECT count(*), count(*) FILTER (WHERE {is_visible('a')}),"
        " count(*) FILTER (WHERE a.hidden AND NOT a.deleted AND NOT a.expunged),"
        " count(*) FILTER (WHERE a.deleted AND NOT a.expunged) FROM asset a"
    ).fetchone()
    return total, visible, hidden, deleted


def _counts(query: Callable[..., Any]) -> Counts:
    total, visible, hidden, deleted = _photos(query)
    by_status = dict(
        query(
            "SELECT c.status, count(*) FROM content c JOIN asset a ON a.checksum = c.checksum"
            " WHERE c.status IN ('downloaded', 'failed') GROUP BY c.status"
        )
    )
    (without_file,) = query(
        "SELECT count(*) FROM asset WHERE checksum = '' AND NOT expunged"
    ).fetchone()
    downloaded = by_status.get("downloaded", 0)
    failed = by_status.get("failed", 0) + without_file
    here = dict(
        query(
            "SELECT c.status, sum(i.size) FROM content c JOIN inode i ON i.checksum = c.checksum"
            " WHERE c.status IN ('downloaded', 'failed') AND i.nlink > 0 GROUP BY c.status"
        )
    )
    files, entries, size = query(
        "SELECT count(*), coalesce(sum(nlink), 0), coalesce(sum(size), 0) FROM inode"
        # +: along the table; by the index on the asset it takes more than twice as long.
        " WHERE +asset IS NOT NULL AND nlink > 0"
    ).fetchone()
    return Counts(
        total=total,
        visible=visible,
        hidden=hidden,
        deleted=deleted,
        pending=total - downloaded - failed,
        downloaded=downloaded,
        failed=failed,
        without_file=without_file,
        files=files,
        entries=entries,
        bytes=size,
        bytes_downloaded=here.get("downloaded", 0),
        bytes_failed=here.get("failed", 0),
        bytes_pending=size - sum(here.values()),
    )


def _cache(query: Callable[..., Any]) -> CacheUse:
    directory = query("SELECT value FROM metadata WHERE key = 'cache_directory'").fetchone()
    contents, size = query(
        "SELECT count(*), coalesce(sum(size), 0) FROM content WHERE status = 'downloaded'"
    ).fetchone()
    return CacheUse(pathtext.shown(directory[0]) if directory else None, contents, size)


def _zones(connection: apsw.Connection) -> list[ZoneState]:
    query: Callable[..., Any] = connection.execute
    return [
        ZoneState(name, area, bool(listed), photos, *_token(connection, name), *beyond_lists)
        for name, area, listed, photos, *beyond_lists in query(
            "SELECT z.name, z.area, z.listed, (SELECT count(*) FROM asset a WHERE a.zone = z.id),"
            " nullif(z.indexing, ''), z.indexed, z.excess, z.album_excess"
            " FROM zone z ORDER BY z.name <> 'PrimarySync', z.id"
        )
    ]


def _token(connection: apsw.Connection, zone: str) -> tuple[bool, float | None]:
    """Whether a zone has a sync token, and when it came."""
    key = metadata.sync_token_key(zone)
    received = metadata.token_received(connection, key)
    has = metadata.get(connection, key) is not None
    return has, None if received is None else received / 1000


def list_status(
    connection: apsw.Connection, status: str, limit: int
) -> list[dict[str, apsw.SQLiteValue]]:
    """Rows of the ``assets`` view with that status, with why and where."""
    cursor = connection.execute(
        "SELECT asset_id, filename, checksum, size, local_path, download_attempts, last_error, id"
        " FROM assets WHERE status = ? LIMIT ?",
        (status, limit),
    )
    rows = cursor.fetchall()
    keys = (
        "asset_id",
        "filename",
        "checksum",
        "size",
        "local_path",
        "attempts",
        "last_error",
        "id",
    )
    return [dict(zip(keys, row, strict=True)) for row in rows]
