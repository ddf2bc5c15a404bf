"""A database of an earlier version opens, and keeps everything that is in it."""

from __future__ import annotations

import stat
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from icloudfs.state import catalogue, completeness, contents, metadata, refusals, schema
from icloudfs.state.database import create
from icloudfs.state.refusals import Part, Refusal
from icloudfs.state.summary import summarise
from icloudfs.tree import modes
from icloudfs.tree.directory import Directory


def _first_version(path: Path) -> None:
    """A library with one photo, downloaded, as version 1 had it."""
    connection = apsw.Connection(str(path))
    schema.MIGRATIONS[0](connection)
    connection.pragma("user_version", 1)
    connection.execute(
        "INSERT INTO metadata VALUES ('sync_token:PrimarySync', 'token');"
        "INSERT INTO zone (id, area, name, listed) VALUES (1, 'private', 'PrimarySync', 1);"
        "INSERT INTO inode VALUES (1, 16749, 0, 0, 0, 2, NULL, NULL, NULL);"
        "INSERT INTO inode VALUES (7, 33060, 9, 5, 6, 1, 1, 'original', 'sum');"
        "INSERT INTO dirent VALUES (1, CAST('IMG_1.JPG' AS BLOB), 7);"
        "INSERT INTO owed VALUES (1, 'A', 'refused');"
        "INSERT INTO sync_runs (started_at, completed_at) VALUES (5.5, 6.5);"
    )
    contents.set_downloaded(connection, "sum", 9, "co/sum", sha256="s", verified=True, now=1000)
    connection.execute("UPDATE content SET pinned = 1")
    connection.close()


def test_from_version_1(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    _first_version(path)
    connection = create(path)
    assert connection.pragma("user_version") == schema.VERSION
    content = contents.get(connection, "sum")
    assert content is not None and content.pinned and content.verified and content.path == "co/sum"
    inode = Directory(connection).lookup(1, b"IMG_1.JPG")
    assert inode is not None and (inode.ino, inode.size, inode.mtime) == (7, 9, 5)
    # The library is listed once more, for what was never asked for.
    kept = connection.execute("SELECT key FROM metadata").fetchall()
    assert kept == [(metadata.LISTED_ONCE,)]
    (zone,) = catalogue.zones(connection)
    assert (zone.listed, zone.relisting) == (True, True)
    assert connection.execute("SELECT count(*) FROM hashed_file").fetchall() == [(0,)]
    plan = connection.execute(
        "EXPLAIN QUERY PLAN SELECT 1 FROM inode WHERE size = 9 AND checksum IS NOT NULL LIMIT 1"
    ).fetchall()
    assert "inode_by_size" in str(plan)
    connection.execute("DELETE FROM inode WHERE ino = 7")
    assert contents.left_behind(connection, "", 9) == [("sum", False)]
    connection.close()


def test_what_lists_leave_out_is_not_known_of_an_older_library(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    _first_version(path)
    with closing(apsw.Connection(str(path))) as connection:
        schema.MIGRATIONS[1](connection)
        connection.pragma("user_version", 2)
        connection.execute("UPDATE zone SET listing = 3, members_due = 1")
    with closing(create(path)) as connection:
        (zone,) = catalogue.zones(connection)
        assert (zone.listed, zone.listing, zone.indexing, zone.indexed) == (True, 3, "", None)
        (state,) = summarise(connection).zones
        assert (state.indexing, state.excess, state.album_excess) == (None, 0, 0)
        catalogue.note_indexing(connection, zone.id, "RUNNING", 33)
        catalogue.note_excess(connection, zone.id, 7)
        catalogue.note_album_excess(connection, zone.id, 5)
        (state,) = summarise(connection).zones
        assert (state.indexing, state.indexed_percent) == ("RUNNING", 33)
        assert (state.excess, state.album_excess) == (7, 5)


def _second_version(path: Path) -> None:
    """A video of 20.515 s, a photo that the listing had no original of, and one that was purged, as version 2
    had them."""
    connection = apsw.Connection(str(path))
    for step in schema.MIGRATIONS[:2]:
        step(connection)
    connection.pragma("user_version", 2)
    connection.execute(
        "INSERT INTO metadata VALUES ('sync_token:PrimarySync', 'token'),"
        " ('received:sync_token:PrimarySync', '5'), ('database_token:private', 'kept'),"
        " ('config_hash', 'old'), ('cache_directory', '/cache');"
        "INSERT INTO zone (id, area, name, listed) VALUES"
        " (1, 'private', 'PrimarySync', 1), (2, 'shared', 'SharedSync-1', 0);"
        "INSERT INTO listed_page VALUES (2, 'all', 0);"
        "INSERT INTO owed VALUES (1, 'M2', 'NOT_NOW: later');"
        "INSERT INTO master VALUES (1, 'M2', 'IMG_2.HEIC', 'public.heic', '{}', 0, 0, 5, 1)"
    )
    columns = (
        "INSERT INTO asset (zone, name, master, zone_offset, time_zone, favorite, hidden, deleted,"
        " expunged, subtype, subtype_v2, burst, burst_flags, adjustment, render_type, width, height,"
        " duration, caption, description, keywords, resources, created, modified, listing, checksum,"
        " filename) VALUES (1, ?, ?, 0, '', 0, 0, 0, ?, 0, 0, '', 0, '', 0, 0, 0, ?, '', '', '[]',"
        " '{}', 1, 1, 1, ?, ?)"
    )
    connection.execute(columns, ("A1", "M1", 0, 20515.0, "sum", "IMG_1.MOV"))
    connection.execute(columns, ("A2", "M2", 0, 0.0, "", ""))
    connection.execute(columns, ("A3", "M3", 1, 0.0, "", ""))
    contents.set_downloaded(connection, "sum", 9, "co/sum", sha256="s", verified=True, now=1000)
    connection.close()


def test_from_version_2(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    _second_version(path)
    connection = create(path)
    assert connection.execute("SELECT duration FROM asset ORDER BY id").fetchall() == [
        (20.515,),
        (0.0,),
        (0.0,),
    ]
    rows = connection.execute("SELECT key, value FROM metadata ORDER BY key")
    assert list(rows) == [("cache_directory", "/cache"), ("database_token:private", "kept")]
    assert connection.execute("SELECT count(*) FROM listed_page").fetchall() == [(0,)]
    assert [(z.listed, z.relisting) for z in catalogue.zones(connection)] == [
        (True, True),
        (False, False),
    ]
    assert connection.execute(
        "SELECT asset_id, status, filename, local_path, last_error FROM assets ORDER BY id"
    ).fetchall() == [
        ("A1", "downloaded", "IMG_1.MOV", "/cache/co/sum", None),
        (
            "A2",
            "failed",
            "IMG_2.HEIC",
            None,
            "iCloud has yet to give a file of it: NOT_NOW: later",
        ),
        ("A3", "pending", "", None, None),
    ]
    connection.execute("DELETE FROM owed")
    (told,) = connection.execute("SELECT last_error FROM assets WHERE asset_id = 'A2'").fetchall()
    assert told == ("iCloud has no file of it that can be had.",)
    connection.close()


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_refused_finds_its_place(tmp_path: Path, version: int) -> None:
    path = tmp_path / "state.db"
    _first_version(path)
    if version == 2:
        with closing(apsw.Connection(str(path))) as older:
            schema.MIGRATIONS[1](older)
            older.pragma("user_version", 2)
    with closing(create(path)) as connection:
        assert catalogue.owed(connection, 1, 9, before=1) == ["A"]
        assert refusals.refusals(connection) == []
        (run,) = summarise(connection).runs
        assert run.started_at == 5.5 and run.refused == []
        part = Part("private", "PrimarySync", "changes", "the changes")
        refused = Refusal(part, "HTTP 403", "no", 1, 2, 3, harmless=False)
        refusals.note(connection, refused)
        assert refusals.refusals(connection) == [refused]


@pytest.mark.parametrize("version", [1, 2])
def test_members_of_albums_may_be_of_any_library(tmp_path: Path, version: int) -> None:
    """Relations are kept, and what was listed before looks for photos of the shared library."""
    path = tmp_path / "state.db"
    connection = apsw.Connection(str(path))
    for migration in schema.MIGRATIONS[:version]:
        migration(connection)
    connection.pragma("user_version", version)
    connection.execute(
        "INSERT INTO zone (id, area, name, listed) VALUES (1, 'private', 'PrimarySync', 1),"
        " (2, 'shared', 'SharedSync-1', 1);"
        "INSERT INTO album VALUES (1, 'X', 'Trip', 0, '', 0, 0, 5, 6, 1, 'Trip');"
        "INSERT INTO relation VALUES (1, 'A', 'X', 7, 1), (1, 'B', 'X', 8, 2), (2, 'A', 'X', 9, 1);"
    )
    connection.close()
    connection = create(path)
    assert connection.execute(
        "SELECT zone, asset, album, created, listing FROM relation ORDER BY created"
    ).fetchall() == [(1, "A", "X", 7, 1), (1, "B", "X", 8, 2), (2, "A", "X", 9, 1)]
    assert connection.execute("SELECT members_due, relations_read FROM zone").fetchall() == [
        (1, 0),
        (1, 0),
    ]
    asked = "SELECT 1 FROM relation WHERE asset = 'A'", "SELECT 1 FROM relation WHERE zone = 1"
    for question in asked:
        plan = str(connection.execute(f"EXPLAIN QUERY PLAN {question}").fetchall())
        assert "SEARCH relation USING" in plan, plan
    with pytest.raises(apsw.ConstraintError):
        connection.execute("INSERT INTO relation VALUES (1, 'A', 'X', 1, 1)")
    connection.execute("DELETE FROM zone WHERE id = 1")
    assert connection.execute("SELECT zone FROM relation").fetchall() == [(2,)]
    connection.close()


@pytest.mark.parametrize("version", [1, 2])
def test_modes_are_those_of_copies_that_can_be_changed(tmp_path: Path, version: int) -> None:
    path = tmp_path / "state.db"
    _first_version(path)
    with closing(apsw.Connection(str(path))) as older:
        for step in schema.MIGRATIONS[1:version]:
            step(older)
        older.pragma("user_version", version)
        older.execute(
            "INSERT INTO inode VALUES (8, ?, 9, 5, 6, 1, NULL, NULL, NULL),"
            " (9, ?, 0, 5, 6, 2, NULL, NULL, NULL)",
            (stat.S_IFREG | 0o400, stat.S_IFDIR | 0o700),
        )
    with closing(create(path)) as connection:
        found = connection.execute("SELECT ino, mode FROM inode ORDER BY ino").fetchall()
    assert found == [
        (1, modes.DIRECTORY),
        (7, modes.FILE),
        (8, modes.PRIVATE_FILE),
        (9, modes.PRIVATE_DIRECTORY),
    ]


def test_what_was_listed_before_is_believed_to_be_complete(tmp_path: Path) -> None:
    """By a version that noted it of listings alone; one that was cut off is not."""
    for name, listed in (("whole", 1), ("cut off", 0)):
        path = tmp_path / f"{name}.db"
        _second_version(path)
        with closing(apsw.Connection(str(path))) as connection:
            connection.execute("UPDATE zone SET listed = ?", (listed,))
        with closing(create(path)) as connection:
            assert completeness.misses_nothing(connection) == bool(listed)
