from __future__ import annotations

import os
import time
from pathlib import Path

from icloudfs.cache.shelf import Shelf


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.rglob("*") if path.is_file()}


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most=3, most_bytes=1000)
    for name in ("aaaa", "bbbb", "cccc"):
        shelf.put(name, b"12345")
    assert shelf.get("aaaa") == b"12345"
    shelf.put("dddd", b"12345")
    assert names(tmp_path) == {"aaaa", "cccc", "dddd"}
    assert shelf.get("bbbb") is None
    assert (shelf.count, shelf.bytes) == (3, 15)


def test_bytes_are_bounded_too(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most=100, most_bytes=10)
    shelf.put("aaaa", b"12345")
    shelf.put("bbbb", b"12345")
    shelf.put("bbbb", b"123456")
    assert names(tmp_path) == {"bbbb"} and shelf.bytes == 6
    shelf.put("large", b"x" * 20)
    assert names(tmp_path) == {"large"}


def test_a_restart_knows_what_was_used_when(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most=3, most_bytes=1000)
    for age, name in enumerate(("aaaa", "bbbb", "cccc")):
        shelf.put(name, b"12345")
        long_ago = time.time() - 100_000 + age
        os.utime(tmp_path / name[2:4] / name, (long_ago, long_ago))
    assert shelf.get("aaaa") == b"12345"

    again = Shelf(tmp_path, most=3, most_bytes=1000)
    again.put("dddd", b"1")
    assert names(tmp_path) == {"aaaa", "cccc", "dddd"}
    assert (again.count, again.bytes) == (3, 11)


def test_what_was_half_written_goes(tmp_path: Path) -> None:
    (tmp_path / ".new-1").write_bytes(b"half")
    assert Shelf(tmp_path, most=3, most_bytes=10).get("half") is None
    assert names(tmp_path) == set()


def test_a_file_that_somebody_took_is_not_there(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most=3, most_bytes=10)
    shelf.put("aaaa", b"1")
    (tmp_path / "aa" / "aaaa").unlink()
    assert shelf.get("aaaa") is None
    assert (shelf.count, shelf.bytes) == (0, 0)


def test_dropped(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most=3, most_bytes=10)
    shelf.put("aaaa", b"1")
    shelf.drop("aaaa")
    shelf.drop("bbbb")
    assert names(tmp_path) == set() and shelf.count == 0
