"""Which files a photo has and where they belong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icloudfs.tree import layout
from icloudfs.tree.layout import Photo, StoredResource, View

HOUR = 3600
NEW_YEAR = 1_704_067_200_000  # 2024-01-01 00:00 UTC
ORIGINAL = {"resOriginal": StoredResource("sum", 10, "public.heic")}


def photo(**more: Any) -> Photo:
    fields: dict[str, Any] = dict.fromkeys(Photo.__struct_fields__, 0)
    fields |= dict.fromkeys(("favorite", "hidden", "deleted", "expunged"), False)
    fields |= {"zone_name": "PrimarySync", "name": "A", "burst": "", "adjustment": ""}
    fields |= {"asset_resources": {}, "master_resources": ORIGINAL}
    fields |= {"filename": "IMG.HEIC", "uti": "public.heic"}
    return Photo(**(fields | more))


@pytest.mark.parametrize(
    ("taken", "offset", "month"),
    [
        (NEW_YEAR, 0, ("2024", "2024-01")),
        (NEW_YEAR, -8 * HOUR, ("2023", "2023-12")),
        (NEW_YEAR - 1, 0, ("2023", "2023-12")),
        (NEW_YEAR - 1, 13 * HOUR, ("2024", "2024-01")),
        (NEW_YEAR - HOUR * 1000, 20700, ("2024", "2024-01")),
        (-315_619_200_000, HOUR, ("1960", "1960-01")),
        (-62_135_596_800_000, 0, ("0001", "0001-01")),
        (-62_135_596_800_000, -HOUR, ("Unknown date",)),
        (253_402_300_799_000, 0, ("9999", "9999-12")),
        (253_402_300_799_000, HOUR, ("Unknown date",)),
        (2**62, 0, ("Unknown date",)),
        (None, 0, ("Unknown date",)),
    ],
)
def test_the_month_is_that_of_the_photos_own_time_zone(
    taken: int | None, offset: int, month: tuple[str, ...]
) -> None:
    assert layout.month(photo(taken=taken, zone_offset=offset)) == month


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-86_400, 86_400))
def test_every_date_has_a_directory(taken: int, offset: int) -> None:
    year, *month = layout.month(photo(taken=taken, zone_offset=offset))
    assert year == layout.UNKNOWN_DATE or (len(year) == 4 and month[0][:5] == f"{year}-")


def test_views_of_what_is_out_of_sight() -> None:
    everything = {
        "favorite": True,
        "subtype": 1,
        "subtype_v2": 2,
        "render_type": 6,
        "added": 10**12,
    }
    assert _views(**everything) == {
        View.FAVORITES, View.RECENT, View.LIVE, View.PANORAMAS, View.PORTRAIT, View.LONG_EXPOSURE
    }  # fmt: skip
    assert _views(**everything, hidden=True) == {View.HIDDEN}
    assert _views(**everything, deleted=True) == {View.DELETED}
    assert _views(**everything, hidden=True, deleted=True) == {View.DELETED}
    assert _views(**everything, expunged=True) == set()
    assert _views(**everything, burst="b", burst_flags=2) == set()


def test_frames_of_a_burst_that_someone_chose_are_shown() -> None:
    assert photo(burst="b", burst_flags=2).is_burst_reject
    assert not photo(burst="b", burst_flags=2 | 8).is_burst_reject
    assert not photo(burst="b", burst_flags=2 | 16).is_burst_reject
    assert not photo(burst_flags=2).is_burst_reject


def test_recent_ends_after_thirty_days() -> None:
    day = 86_400_000
    assert layout.is_recent(1, 30 * day)
    assert not layout.is_recent(0, 30 * day)
    assert not layout.is_recent(None, 0)


def test_files() -> None:
    def extensions(**more: Any) -> list[tuple[str, str]]:
        shown = photo(**more)
        return [(f.rendition, f.extension) for f in layout.files(shown, layout.stem(shown))]

    movie = StoredResource("m", 1, "com.apple.quicktime-movie")
    edited = {"resJPEGFull": StoredResource("e", 1), "resVidFull": movie}
    assert extensions(master_resources=None) == []
    assert extensions(master_resources={}) == []
    assert extensions(master_resources=ORIGINAL | {"resOriginalVidCompl": movie}) == [
        ("original", "HEIC"),
        ("live", "MOV"),
    ]
    assert extensions(asset_resources=edited) == [
        ("original", "HEIC"),
        ("edited", "JPG"),
        ("edited-video", "MOV"),
    ]
    assert extensions(asset_resources=edited, subtype=100) == [
        ("original", "HEIC"),
        ("edited", "JPG"),
    ]
    assert extensions(filename="img.heic", asset_resources=edited)[1] == ("edited", "jpg")


def _views(**more: Any) -> set[View]:
    return set(layout.smart_views(photo(**more), now=10**12))
