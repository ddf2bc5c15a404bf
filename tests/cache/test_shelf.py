from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from icloudfs.cache.shelf import SEAL, Shelf


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
    assert (shelf.count, shelf.bytes) == (3, 15 + 3 * SEAL)


def test_bytes_are_bounded_too(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most=100, most_bytes=10 + SEAL)
    shelf.put("aaaa", b"12345")
    shelf.put("bbbb", b"12345")
    shelf.put("bbbb", b"123456")
    assert names(tmp_path) == {"bbbb"} and shelf.bytes == 6 + SEAL
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
    assert (again.count, again.bytes) == (3, 11 + 3 * SEAL)


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


@pytest.mark.parametrize("harm", [b"", b"1", bytes(5 + SEAL), b"12345", b"12346" + 32 * b"x"])
def test_what_is_not_what_was_put_there_is_none(tmp_path: Path, harm: bytes) -> None:
    shelf = Shelf(tmp_path, most=3, most_bytes=100)
    shelf.put("aaaa", b"12345")
    (tmp_path / "aa" / "aaaa").write_bytes(harm)
    assert shelf.get("aaaa") is None
    assert (shelf.count, shelf.bytes) == (0, 0) and names(tmp_path) == set()


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most=3, most_bytes=100)
    for bit in range(8 * (5 + SEAL)):
        shelf.put("aaaa", b"12345")
        path = tmp_path / "aa" / "aaaa"
        flipped = bytearray(path.read_bytes())
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert shelf.get("aaaa") is None


def test_one_files_content_is_not_taken_for_anothers(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most=3, most_bytes=1000)
    shelf.put("aaaa", b"12345")
    shelf.put("aaab", b"54321")
    (tmp_path / "aa" / "aaaa").replace(tmp_path / "ab" / "aaab")
    assert shelf.get("aaab") is None
