"""Bytes and seconds as people write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icloudfs.units import duration, parse_size, size


@pytest.mark.parametrize(
    "text, size",
    [
        ("0", 0),
        ("512", 512),
        ("10G", 10 << 30),
        ("10g", 10 << 30),
        ("1.5 MiB", 3 << 19),
        ("500MB", 500 << 20),
        (" 2t ", 2 << 40),
        ("7kb", 7 << 10),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.integers(min_value=0, max_value=1 << 50))
def test_a_plain_number_is_bytes(size: int) -> None:
    assert parse_size(str(size)) == size


@pytest.mark.parametrize("text", ["", "G", "much", "-1G", "10X", "1,5G", "10 GB free", "1e3"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is no size; write for example 500M or 10G"):
        parse_size(text)


@pytest.mark.parametrize(
    "count, shown",
    [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (10 << 10, "10K"), (3 << 29, "1.5G")],
)
def test_sizes_as_ls_shows_them(count: int, shown: str) -> None:
    assert size(count) == shown


@given(st.integers(min_value=0, max_value=1 << 50))
def test_what_is_shown_can_be_read(count: int) -> None:
    assert parse_size(size(count)) == pytest.approx(count, rel=0.06)


@pytest.mark.parametrize(
    "seconds, shown",
    [
        (-1, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 minute"),
        (7_300, "2 hours"),
        (86_400, "1 day"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
