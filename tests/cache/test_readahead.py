from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from icloudfs.cache.readahead import FIRST_WINDOW, LARGEST_WINDOW, NEAR, Place

SIZE = 1 << 30


def test_windows_double_up_to_the_largest() -> None:
    place = Place(0, 0.0)
    asked = [
        ahead[1] - ahead[0]
        for start in range(0, 200 << 20, 128 << 10)
        if (ahead := place.advance(start, start + (128 << 10), SIZE, 0.0))
    ]
    assert asked[0] == FIRST_WINDOW
    assert all(after == min(2 * before, LARGEST_WINDOW) for before, after in pairwise(asked))
    assert asked[-1] == LARGEST_WINDOW


def test_the_next_window_is_asked_for_when_half_of_the_last_is_used() -> None:
    place = Place(0, 0.0)
    assert place.advance(0, 4096, SIZE, 0.0) == (0, FIRST_WINDOW)
    assert place.advance(4096, FIRST_WINDOW // 2, SIZE, 0.0) is None
    assert place.advance(FIRST_WINDOW // 2, FIRST_WINDOW // 2 + 1, SIZE, 0.0) is not None


def test_nothing_beyond_the_end() -> None:
    place = Place(SIZE - 1000, 0.0)
    assert place.advance(SIZE - 1000, SIZE, SIZE, 0.0) == (SIZE - 1000, SIZE)
    assert place.advance(SIZE - 1000, SIZE, SIZE, 0.0) is None


def test_a_place_owns_what_is_near() -> None:
    place = Place(10 * NEAR, 0.0)
    place.advance(10 * NEAR, 10 * NEAR + 1, SIZE, 0.0)
    assert place.owns(9 * NEAR) and not place.owns(9 * NEAR - 1)
    assert place.owns(place.asked + NEAR) and not place.owns(place.asked + NEAR + 1)


def test_after_a_cut_it_begins_again_with_a_small_window() -> None:
    place = Place(0, 0.0)
    for start in range(0, 16 << 20, 1 << 20):
        place.advance(start, start + (1 << 20), SIZE, 0.0)
    place.cut(8 << 20)
    assert place.advance(8 << 20, (8 << 20) + 1, SIZE, 0.0) == (8 << 20, (8 << 20) + FIRST_WINDOW)


@given(st.lists(st.tuples(st.integers(0, 40 << 20), st.integers(1, 1 << 20)), max_size=30))
def test_what_is_asked_for_has_no_gap_and_no_overlap(reads: list[tuple[int, int]]) -> None:
    place = Place(0, 0.0)
    reached = 0
    for start, size in reads:
        if not place.owns(start):
            continue
        if ahead := place.advance(start, min(start + size, 40 << 20), 40 << 20, 0.0):
            assert ahead[0] == reached and ahead[1] > ahead[0]
            reached = ahead[1]
        assert reached == place.asked >= min(start + size, 40 << 20)
