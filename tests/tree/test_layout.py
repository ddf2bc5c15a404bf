"""Which files a photo has and where they belong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icloudfs.apple.records import Rendition
from icloudfs.tree import layout, names
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
    # Hidden, no frame of a burst has another place.
    assert _views(**everything, burst="b", burst_flags=2, hidden=True) == {View.HIDDEN}
    assert _views(**everything, burst="b", burst_flags=2, deleted=True) == {View.DELETED}


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


MOVIE = StoredResource("m", 1, "com.apple.quicktime-movie")


def renditions(**more: Any) -> list[str]:
    shown = photo(**more)
    return [str(f.rendition) for f in layout.files(shown, layout.stem(shown))]


def test_the_video_of_an_edited_live_photo() -> None:
    heic = StoredResource("e", 1, "public.heic")
    live = photo(
        master_resources=ORIGINAL | {"resOriginalVidCompl": MOVIE},
        asset_resources={"resJPEGFull": heic, "resVidCompl": MOVIE},
        subtype_v2=2,
        adjustment="com.apple.photo",
    )
    stem = layout.stem(live)
    shown = [names.file_name(stem, f.rendition, f.extension) for f in layout.files(live, stem)]
    assert shown == ["IMG.HEIC", "IMG.MOV", "IMG-edited.HEIC", "IMG-edited.MOV"]


@pytest.mark.parametrize(
    ("adjustment", "subtype", "shown"),
    [
        ("com.apple.video.slomo", 100, False),
        ("com.apple.video.slomo", 0, False),
        ("", 100, False),
        ("com.apple.video", 100, True),
        ("com.apple.photo", 100, True),
        ("org.other.editor", 100, True),
        ("com.apple.video", 0, True),
        ("", 0, True),
    ],
)
def test_of_slow_motion_the_automatic_rendition_is_hidden_and_an_edit_is_shown(
    adjustment: str, subtype: int, shown: bool
) -> None:
    found = renditions(
        uti="com.apple.quicktime-movie",
        master_resources={"resOriginal": MOVIE},
        asset_resources={"resVidFull": MOVIE},
        adjustment=adjustment,
        subtype=subtype,
    )
    assert found == (["original", "edited-video"] if shown else ["original"])


def jpeg(checksum: str, size: int = 5) -> StoredResource:
    return StoredResource(checksum, size, "public.jpeg")


def test_the_best_there_is_stands_for_an_original_that_cannot_be_had() -> None:
    small = {"resJPEGThumb": jpeg("t"), "resJPEGMed": jpeg("m"), "resVidMed": MOVIE}
    shown = photo(master_resources=small)
    (file,) = layout.files(shown, layout.stem(shown))
    assert (file.rendition, file.content.checksum, file.extension) == ("preview", "m", "JPG")
    assert layout.main([file]) == file
    assert names.file_name(layout.stem(shown), file.rendition, "JPG") == "IMG-preview.JPG"

    larger = renditions(master_resources=small | {"resJPEGLarge": jpeg("l")})
    assert larger == ["preview"]
    assert renditions(master_resources=ORIGINAL | small) == ["original"]
    assert renditions(master_resources=small, asset_resources={"resJPEGFull": jpeg("e")}) == [
        "edited"
    ]
    raw = {"resOriginalAlt": StoredResource("r", 1, "com.adobe.raw-image")}
    assert renditions(master_resources=small | raw) == ["alternate"]
    live = {"resOriginalVidCompl": MOVIE}
    assert renditions(master_resources=small | live) == ["live", "preview"]
    assert renditions(master_resources=live) == ["live"]
    assert layout.main([layout.FileOf(Rendition.LIVE_VIDEO, MOVIE, "MOV")]) is None


def test_of_a_video_only_a_video_stands_for_it() -> None:
    film = {"uti": "com.apple.quicktime-movie", "filename": "IMG.MOV"}
    small = {"resJPEGMed": jpeg("m"), "resVidSmall": MOVIE}
    assert renditions(master_resources=small, **film) == ["preview"]
    assert renditions(master_resources={"resJPEGMed": jpeg("m")}, **film) == []
    by_itself = {"asset_resources": {"resVidFull": MOVIE}, "adjustment": "com.apple.video.slomo"}
    assert renditions(master_resources=small, **by_itself, **film) == ["edited-video"]


def test_what_has_no_size_yet_is_not_shown() -> None:
    unknown = {"resOriginal": StoredResource("sum", -1, "public.heic")}
    assert renditions(master_resources=unknown) == []
    assert renditions(master_resources=unknown | {"resJPEGMed": jpeg("m")}) == ["preview"]
    assert renditions(asset_resources={"resJPEGFull": jpeg("e", -1)}) == ["original"]


@pytest.mark.parametrize(
    ("uti", "filename", "views"),
    [
        ("com.apple.quicktime-movie", "IMG.JPG", {View.VIDEOS}),
        ("public.jpeg", "IMG.MOV", set()),
        ("", "IMG.MOV", {View.VIDEOS}),
        ("", "img.m4v", {View.VIDEOS}),
        ("", "IMG.JPG", set()),
        ("com.maker.raw-video", "IMG.JPG", set()),
        ("com.maker.raw-video", "IMG", {View.VIDEOS}),
        ("public.movie", "IMG.xyz", {View.VIDEOS}),
        ("com.maker.picture", "IMG", set()),
        ("", "", set()),
        ("com.compuserve.gif", "x.JPG", {View.ANIMATED}),
        ("", "x.gif", {View.ANIMATED}),
    ],
)
def test_what_a_photo_is(uti: str, filename: str, views: set[View]) -> None:
    assert set(layout.smart_views(photo(uti=uti, filename=filename), now=10**12)) == views


def _views(**more: Any) -> set[View]:
    return set(layout.smart_views(photo(**more), now=10**12))
