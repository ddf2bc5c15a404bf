"""Inode numbers: the same for the same thing, in the ranges that the module promises."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icloudfs.apple.records import Rendition
from icloudfs.tree import numbers


@given(st.one_of(st.none(), st.integers(-(2**62), 2**62)), st.sampled_from(list(Rendition)))
def test_files_lie_between_the_root_and_the_directories(
    added: int | None, rendition: Rendition
) -> None:
    ino = numbers.of_file("PrimarySync", "A", rendition, added)
    assert 2**32 <= ino < numbers.FIRST_DIRECTORY
    assert ino == numbers.of_file("PrimarySync", "A", rendition, added)
    assert not numbers.is_directory(ino)


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_directories_fit_a_signed_offset(path: list[str]) -> None:
    for ino in (numbers.of_path(*path), numbers.of_directory(*path)):
        assert numbers.FIRST_DIRECTORY <= ino < 2**63
        assert numbers.is_directory(ino)


def test_what_was_added_later_comes_later() -> None:
    early = numbers.of_file("PrimarySync", "Z", Rendition.ORIGINAL, 1_000_000)
    assert early < numbers.of_file("PrimarySync", "A", Rendition.ORIGINAL, 1_001_000)


def test_renditions_and_zones_have_numbers_of_their_own() -> None:
    found = {
        numbers.of_file(zone, "A", rendition, 0)
        for zone in ("PrimarySync", "SharedSync-1")
        for rendition in Rendition
    }
    assert len(found) == 2 * len(Rendition)
    assert numbers.is_directory(1)


def test_the_numbers_of_a_database_that_is_rebuilt_tomorrow() -> None:
    """They are part of the interface: backup tools remember them."""
    assert (
        numbers.of_file("PrimarySync", "A", Rendition.ORIGINAL, 1_700_000_000_000) == EXPECTED_FILE
    )
    assert numbers.of_path("Library", "2024") == EXPECTED_YEAR
    assert numbers.of_album("PrimarySync", "X") == EXPECTED_ALBUM


EXPECTED_FILE = 1825361106103139780
EXPECTED_YEAR = 7180944667035520547
EXPECTED_ALBUM = 8765472720660666721
