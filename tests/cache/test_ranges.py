from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from icloudfs.cache.ranges import RangeSet

_END = 64
_SPANS = st.lists(st.tuples(st.integers(0, _END), st.integers(0, _END)), max_size=20)


def _bytes(spans: list[tuple[int, int]]) -> set[int]:
    return {byte for start, stop in spans for byte in range(start, stop)}


@given(_SPANS)
def test_a_set_holds_what_was_added_in_one_form(spans: list[tuple[int, int]]) -> None:
    ranges = RangeSet(spans)
    assert _bytes(list(ranges)) == _bytes(spans)
    assert ranges.total == len(_bytes(spans))
    assert bool(ranges) == bool(_bytes(spans))
    assert all(start < stop for start, stop in ranges)
    assert all(before[1] < after[0] for before, after in pairwise(ranges))


@given(_SPANS, st.integers(0, _END), st.integers(0, _END))
def test_add_tells_how_many_bytes_are_new(
    spans: list[tuple[int, int]], start: int, stop: int
) -> None:
    ranges = RangeSet(spans)
    assert ranges.add(start, stop) == len(set(range(start, stop)) - _bytes(spans))


@given(_SPANS, st.integers(0, _END), st.integers(0, _END))
def test_holes_and_coverage_are_what_a_set_of_bytes_says(
    spans: list[tuple[int, int]], start: int, stop: int
) -> None:
    ranges = RangeSet(spans)
    missing = set(range(start, stop)) - _bytes(spans)
    holes = list(ranges.holes(start, stop))
    assert _bytes(holes) == missing
    assert list(RangeSet(holes)) == holes
    assert ranges.covers(start, stop) == (not missing)


@given(_SPANS, st.integers(0, _END))
def test_a_set_reaches_as_far_as_nothing_is_missing(
    spans: list[tuple[int, int]], start: int
) -> None:
    reached = RangeSet(spans).reaches(start)
    assert set(range(start, reached)) <= _bytes(spans)
    assert reached >= start and reached not in _bytes(spans)


def test_clear() -> None:
    ranges = RangeSet([(0, 5), (7, 9)])
    ranges.clear()
    assert list(ranges) == [] and ranges.total == 0
