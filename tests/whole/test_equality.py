"""The mount, the database, and what iCloud itself holds: the same photos, files and bytes."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest

from icloudfs.demo.check import check
from icloudfs.tree.layout import PRIVATE_VIEWS
from tests.whole.library import ALL_VIEWS, Library, asset_of
from tests.whole.local_icloud import Entry, LocalICloud


def found_by_find(folder: Path) -> int:
    listed = subprocess.run(
        ["find", str(folder), "-type", "f", "-print0"], capture_output=True, check=True
    )
    return listed.stdout.count(b"\0")


def renditions_shown(entries: list[Entry]) -> int:
    """Files of these photos; a slow-motion video's rendition is the phone's own affair."""
    return sum(
        not (
            rendition["rendition"] == "edited-video"
            and entry["adjustment"] == "com.apple.video.slomo"
        )
        for entry in entries
        for rendition in entry["renditions"]
    )


def is_hidden(entry: Entry) -> bool:
    return entry["hidden"] and not entry["deleted"]


def is_visible(entry: Entry) -> bool:
    return not entry["hidden"] and not entry["deleted"]


def inodes(library: Library, below: str = "") -> set[int]:
    return {path.stat().st_ino for path in library.files(below)}


@pytest.fixture
def entries(icloud: LocalICloud) -> list[Entry]:
    return icloud.manifest()


def test_figures_of_status_are_those_of_icloud(mounted: Library, entries: list[Entry]) -> None:
    figures = mounted.status()["assets"]

    assert figures["total"] == len(entries) == 142
    assert figures["visible"] == sum(map(is_visible, entries)) == 135
    assert figures["hidden"] == sum(map(is_hidden, entries)) == 3
    assert figures["deleted"] == sum(entry["deleted"] for entry in entries) == 4
    assert figures["pending"] + figures["downloaded"] + figures["failed"] == len(entries)


def test_zones_of_status_are_those_of_icloud(mounted: Library, icloud: LocalICloud) -> None:
    zones = mounted.status()["zones"]

    assert {zone["name"]: zone["photos"] for zone in zones} == {
        name: counts["assets"] for name, counts in icloud.control.counts().items()
    }
    assert all(zone["listed"] and zone["has_token"] for zone in zones)


def test_find_and_status_and_icloud_count_the_same_files(
    mounted: Library, entries: list[Entry]
) -> None:
    figures = mounted.status()["assets"]

    assert found_by_find(mounted.mount_point) == figures["entries"]
    assert figures["files"] == len(inodes(mounted))
    assert figures["files"] == renditions_shown([e for e in entries if is_visible(e)])
    sizes = {path.stat().st_ino: path.stat().st_size for path in mounted.files()}
    assert figures["bytes"] == sum(sizes.values())


def test_list_albums_counts_what_the_folders_show(mounted: Library, entries: list[Entry]) -> None:
    """Photos of the shared library in own albums, too: the same files as in Shared Library."""
    told = json.loads(mounted.icloudfs("list", "albums", "--json").stdout)
    shown: dict[str, set[str]] = {}
    for path in mounted.files("Albums"):
        album = str(path.parent.relative_to(mounted.mount_point / "Albums"))
        shown.setdefault(album, set()).add(asset_of(path))
    assert {row["name"]: row["photos"] for row in told} == {
        album: len(assets) for album, assets in shown.items()
    }
    theirs = {entry["asset"] for entry in entries if ["Together"] in entry["albums"]}
    assert shown["Together"] == theirs and len(theirs) == 5
    assert inodes(mounted, "Albums/Together") <= inodes(mounted, "Shared Library")


def test_hidden_and_deleted_are_nowhere_by_default(mounted: Library, entries: list[Entry]) -> None:
    shown = {path.name for path in mounted.mount_point.iterdir()}
    private = [entry["asset"] for entry in entries if not is_visible(entry)]

    assert not shown & PRIVATE_VIEWS
    assert len(private) == 7
    assert not [path for asset in private for path in mounted.files_of(asset)]


def test_every_byte_of_every_view_is_icloud_s(library: Library, entries: list[Entry]) -> None:
    library.mount(views=ALL_VIEWS)

    report = check(library.mount_point, library.icloud.url)

    assert report.differences == []
    assert report.photos == len(entries)
    assert report.files == renditions_shown(entries) == library.status()["assets"]["files"]
    assert report.entries == found_by_find(library.mount_point)
    assert library.status()["assets"]["downloaded"] == len(entries)
    _hidden_and_deleted_are_where_they_belong(library, entries)


def _hidden_and_deleted_are_where_they_belong(library: Library, entries: list[Entry]) -> None:
    for view, belongs in (("Hidden", is_hidden), ("Recently Deleted", lambda e: e["deleted"])):
        folder = library.mount_point / view
        assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0
        assert stat.S_IMODE(folder.stat().st_mode) & 0o500 == 0o500
        theirs = [entry for entry in entries if belongs(entry)]
        assert len(inodes(library, view)) == renditions_shown(theirs)
    assert {"Hidden", "Recently Deleted"} <= set(
        (library.mount_point / ".hidden").read_text().splitlines()
    )


def test_a_shared_library_of_somebody_else_s_is_equal_too(
    library: Library, entries: list[Entry]
) -> None:
    """It is in the other database, the one for what others share, and comes after the first listing."""
    icloud = library.icloud
    library.mount("--interval", "1", views=("Shared Library",))
    zone = icloud.control.phone("create_shared_zone", mine=False)
    try:
        added = icloud.control.phone("add_photo", kind="jpeg", zone=zone, taken=1_600_000_000_000)
        paths = library.until_shown(added["asset"])
        state = next(z for z in library.status()["zones"] if z["name"] == zone)

        assert state["area"] == "shared"
        assert [path.parent for path in paths] == [
            library.mount_point / "Shared Library/2020/2020-09"
        ]
        assert paths[0].read_bytes() == library.truth(paths[0])
    finally:
        icloud.control.phone("remove_shared_zone", zone=zone)
    library.until_gone(added["asset"])
