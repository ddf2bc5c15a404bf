"""What is on this disk."""

from __future__ import annotations

import apsw

from icloudfs.state import contents, metadata


def test_the_life_of_a_content(connection: apsw.Connection) -> None:
    assert contents.get(connection, "sum") is None
    contents.save_ranges(connection, "sum", 100, "su/sum", [(0, 10), (20, 30)], now=5)
    found = contents.get(connection, "sum")
    assert found is not None and found.ranges == [(0, 10), (20, 30)] and found.status == "partial"
    assert contents.cached_bytes(connection) == 20
    contents.note_error(connection, "sum", 100, "su/sum", "the network went away")
    found = contents.get(connection, "sum")
    assert found is not None and found.status == "partial" and found.attempts == 1
    assert found.last_error == "the network went away"
    contents.set_downloaded(connection, "sum", 100, "su/sum", sha256="s", verified=True, now=7000)
    found = contents.get(connection, "sum")
    assert found is not None and found.status == "downloaded" and found.last_error is None
    assert (found.attempts, found.downloaded_at, found.ranges) == (2, 7000, [])
    assert contents.cached_bytes(connection) == 100
    contents.set_failed(connection, "sum", 100, "flipped")
    found = contents.get(connection, "sum")
    assert (
        found is not None and found.status == "failed" and found.path == "" and not found.verified
    )
    assert contents.cached_bytes(connection) == 0
    contents.forget(connection, "sum")
    assert contents.get(connection, "sum") is None


def test_imported_and_pinned_files_are_never_evicted(connection: apsw.Connection) -> None:
    for name, path in (("a", "aa/a"), ("b", "/photos/b"), ("c", "cc/c"), ("d", "dd/d")):
        contents.set_downloaded(connection, name, 10, path, sha256="", verified=True, now=1000)
    connection.execute("UPDATE content SET pinned = 1 WHERE checksum = 'c'")
    contents.touch(connection, [("a", 50), ("d", 40), ("nobody", 1)])
    contents.touch(connection, [("a", 20)])
    assert [c.checksum for c in contents.least_recently_used(connection)] == ["d", "a"]
    assert contents.cached_bytes(connection) == 30
    contents.forget(connection, "c")
    pinned = contents.get(connection, "c")
    assert pinned is not None and pinned.pinned and pinned.path == "" and pinned.status == "partial"


def test_where_the_cache_lies(connection: apsw.Connection) -> None:
    assert not contents.set_directory(connection, "/cache", "one")
    assert contents.set_directory(connection, "/cache", "one")
    assert not contents.set_directory(connection, "/cache", "another")
    assert not contents.set_directory(connection, "/elsewhere", "another")


def test_a_cache_of_before_it_was_noted_which_it_is(connection: apsw.Connection) -> None:
    metadata.put(connection, metadata.CACHE_DIRECTORY, "/cache")
    assert contents.set_directory(connection, "/cache", "one")
    assert not contents.set_directory(connection, "/cache", "another")
