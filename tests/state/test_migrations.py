"""A database of an earlier version opens, and keeps everything that is in it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw

from icloudfs.state import catalogue, contents, schema
from icloudfs.state.database import create
from icloudfs.state.summary import summarise
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
    assert connection.execute("SELECT value FROM metadata").fetchall() == [("token",)]
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
