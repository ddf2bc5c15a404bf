from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from icloudfs.apple import checksum as apple
from icloudfs.cache.places import Places, checksum_of


@pytest.mark.parametrize("content", [b"", b"a", b"icloudfs", b"another"])
def test_a_files_name_tells_its_checksum(content: bytes) -> None:
    places = Places(Path("/cache"))
    checksum = apple.of(content)
    for path in (places.new_part(checksum), places.content_path(checksum)):
        assert checksum_of(Path(path).name) == checksum


@pytest.mark.parametrize("checksum", ["", "..", "../../etc/passwd", "a\0b", "AB/../", "x" * 300])
def test_whatever_a_server_sends_the_path_stays_below_the_directory(checksum: str) -> None:
    places = Places(Path("/cache"))
    for path in (places.new_part(checksum), places.content_path(checksum)):
        assert len(Path(path).name) < 200 and "\0" not in path
        assert ".." not in Path(path).parts
        assert places.absolute(path).is_relative_to("/cache")


def test_no_two_parts_have_one_name() -> None:
    places, checksum = Places(Path("/cache")), apple.of(b"icloudfs")
    assert len({places.new_part(checksum) for _ in range(100)}) == 100


def test_imported_files_keep_their_path() -> None:
    assert Places(Path("/cache")).absolute("/photos/a.jpg") == Path("/photos/a.jpg")


def test_names_that_tell_nothing() -> None:
    assert checksum_of("README.txt") is None
    assert checksum_of("~" + 64 * "0") is None


def test_prepare_tells_whether_the_last_use_ended_well(tmp_path: Path) -> None:
    places = Places(tmp_path / "cache")
    assert not places.prepare()
    assert places.prepare()
    places.leave()
    assert not places.prepare()
    assert places.next_leaving() != places.next_leaving()


def test_what_is_on_its_way_out_was_not_left_behind(tmp_path: Path) -> None:
    """Not even to one that looks while it is: an import tries there whether blocks can be shared."""
    earlier, now = Places(tmp_path), Places(tmp_path)
    now.prepare()
    left, leaving = earlier.next_leaving(), now.next_leaving()
    left.touch()
    leaving.touch()
    assert now.left_behind() == [left]


def test_the_tag_is_its_owners_alone_under_every_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Places(tmp_path / "cache").prepare()
    finally:
        os.umask(before)
    tag = tmp_path / "cache" / "CACHEDIR.TAG"
    assert stat.S_IMODE(tag.stat().st_mode) == 0o600
    assert tag.read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")
