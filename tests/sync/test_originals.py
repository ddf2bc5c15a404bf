"""Photos whose original cannot be had, or not at once (facts/cloudkit.md §1.8, §1.12)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from icloudfs.simulator import LibraryPlan
from icloudfs.state import schema, summary
from icloudfs.state.summary import Summary
from icloudfs.sync.pages import Tree
from icloudfs.sync.rebuilding import rebuild_if_changed
from icloudfs.tree.directory import Directory, File
from tests.sync.account import ALL_VIEWS, Client, Lab, lab
from tests.sync.comparing import assert_same_records

Forms = dict[str, Any]

PLAN = LibraryPlan(assets=6, seed=3, drawn=False, oddities=False, shared="none")
NULL = {"value": None, "type": "ASSETID"}
ABSENT: Forms = {"resOriginalRes": None}
NO_SIZE: Forms = {"resOriginalRes": {"size": None}, "resOriginalFileSize": None}
ZERO: Forms = {"resOriginalRes": {"size": 0}, "resOriginalFileSize": None}
NOTHING: Forms = {"resOriginalRes": None, "resJPEGMedRes": None, "resJPEGThumbRes": None}


def files(client: Client, asset: str) -> dict[str, File]:
    """The files of a photo by their names."""
    directory = Directory(client.reader)
    return {
        path.rpartition("/")[2]: file
        for file in directory.files_of_asset(asset)
        for path in directory.places(file.ino)
    }


def blob_sizes(lab: Lab, asset: str) -> dict[str, int]:
    """By wire prefix: what the contents of its master really are."""
    zone = lab.simulator.cloud.zone("PrimarySync")
    master = zone.master(zone.asset(asset).master)
    assert master is not None
    return {resource.prefix: resource.blob.size for resource in master.resources}


def told(client: Client) -> Summary:
    return summary.summarise(client.reader)


async def downloadable(lab: Lab, client: Client, file: File) -> bool:
    """Whether the record that the file names has that content, with an address."""
    (record,) = await lab.icloud.photos.lookup(file.zone, [file.record])
    resources = getattr(record, "resources", {})
    return any(r.checksum == file.checksum and r.url for r in resources.values())


@pytest.mark.parametrize("come_by", ["listing", "changes"])
@pytest.mark.parametrize(
    "forms",
    [
        ABSENT,
        {"resOriginalRes": NULL},
        {"resOriginalRes": {"fileChecksum": None}},
        NO_SIZE | {"resOriginalRes": {"size": None, "downloadURL": None}},
    ],
    ids=["absent", "null", "no checksum", "no size"],
)
async def test_a_preview_stands_for_an_original_that_cannot_be_had(
    tmp_path: Path, forms: Forms, come_by: str
) -> None:
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        if come_by == "changes":
            await client.sync()
        added = account.phone.add_photo("jpeg", "IMG_7777.JPG", master_forms=forms)
        await client.sync()

        shown = files(client, added.asset)
        assert set(shown) == {"IMG_7777-preview.JPG"}
        (file,) = shown.values()
        assert file.size == blob_sizes(account, added.asset)["resJPEGMed"]
        assert await downloadable(account, client, file)
        assert told(client).without_file == []
        assert told(client).assets.pending == 7

        # Once the original is there, it is the photo.
        account.phone.write_otherwise(added.asset, {}, master=True)
        await client.sync()
        assert set(files(client, added.asset)) == {"IMG_7777.JPG"}
        assert told(client).assets.pending == 7


async def test_a_video_without_its_original_is_shown_by_the_best_video(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        added = account.phone.add_photo("video", "IMG_7777.MOV", master_forms=ABSENT)
        await client.sync()
        shown = files(client, added.asset)
        assert set(shown) == {"IMG_7777-preview.MOV"}
        sizes = blob_sizes(account, added.asset)
        assert shown["IMG_7777-preview.MOV"].size == sizes["resVidMed"]


async def test_an_edit_stands_for_its_original(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        added = account.phone.add_photo("jpeg", "IMG_7777.JPG", edited=True, master_forms=NOTHING)
        await client.sync()
        assert set(files(client, added.asset)) == {"IMG_7777-edited.JPG"}
        assert told(client).without_file == []
        (row,) = client.reader.execute(
            "SELECT status, filename FROM assets WHERE asset_id = ?", (added.asset,)
        ).fetchall()
        assert row == ("pending", "IMG_7777-edited.JPG")


async def test_a_photo_of_which_there_is_nothing_is_counted_and_named(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        added = account.phone.add_photo("jpeg", "IMG_7777.JPG", master_forms=NOTHING)
        await client.sync()

        assert files(client, added.asset) == {}
        counts = told(client).assets
        assert (counts.total, counts.pending, counts.failed, counts.without_file) == (7, 6, 1, 1)
        (missing,) = told(client).without_file
        assert (missing.asset, missing.filename) == (added.asset, "IMG_7777.JPG")
        assert missing.reason == "iCloud has no file of it that can be had."
        (listed,) = summary.list_status(client.reader, "failed", 9)
        assert (listed["filename"], listed["last_error"]) == ("IMG_7777.JPG", missing.reason)

        # What a look-up has said is not asked again and again.
        account.calls()
        await client.sync()
        assert account.asked("records/lookup") == 0

        account.phone.write_otherwise(added.asset, {}, master=True)
        await client.sync()
        assert set(files(client, added.asset)) == {"IMG_7777.JPG"}
        assert told(client).assets.without_file == 0


async def test_a_listing_that_leaves_the_original_out_takes_nothing_away(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        added = account.phone.add_photo("jpeg", "IMG_7777.JPG", master_forms=ABSENT)
        await client.sync()
        before = files(client, added.asset)
        await client.syncing.run(relist=True)
        assert client.changes == []
        assert files(client, added.asset) == before


@pytest.mark.parametrize("come_by", ["listing", "changes"])
@pytest.mark.parametrize("forms", [ZERO, NO_SIZE], ids=["zero", "not told"])
async def test_a_size_that_is_not_told_is_measured_before_the_file_is_shown(
    tmp_path: Path, forms: Forms, come_by: str
) -> None:
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        if come_by == "changes":
            await client.sync()
        added = account.phone.add_photo("jpeg", "IMG_7777.JPG", master_forms=forms)
        await client.sync()
        shown = files(client, added.asset)
        assert set(shown) == {"IMG_7777.JPG"}
        assert shown["IMG_7777.JPG"].size == blob_sizes(account, added.asset)["resOriginal"]
        assert client.reader.execute("SELECT * FROM owed").fetchall() == []

        # The size is known from then on, also where the record says 0 again.
        await client.syncing.run(relist=True)
        assert client.changes == []
        assert files(client, added.asset) == shown


async def test_a_size_that_stands_beside_is_not_measured(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        forms: Forms = {"resOriginalRes": {"size": 0}}
        added = account.phone.add_photo("jpeg", "IMG_7777.JPG", master_forms=forms)
        account.calls()
        await client.sync()
        assert account.asked("records/lookup") == 0
        (file,) = files(client, added.asset).values()
        assert file.size == blob_sizes(account, added.asset)["resOriginal"]


async def test_of_an_edit_and_of_a_live_photos_video_the_size_is_measured_too(
    tmp_path: Path,
) -> None:
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        added = account.phone.add_photo(
            "live",
            "IMG_7777.HEIC",
            edited=True,
            forms={
                "resVidComplRes": {"size": 0},
                "resVidComplFileSize": None,
                "resJPEGFullRes": {"size": 0},
            },
            master_forms={
                "resOriginalVidComplRes": {"size": 0},
                "resOriginalVidComplFileSize": None,
            },
        )
        await client.sync()
        shown = files(client, added.asset)
        assert set(shown) == {
            "IMG_7777.HEIC",
            "IMG_7777.MOV",
            "IMG_7777-edited.HEIC",
            "IMG_7777-edited.MOV",
        }
        for file in shown.values():
            blob = account.simulator.cloud.storehouse.find_checksum(file.checksum)
            assert blob is not None and blob.size == file.size


@pytest.mark.parametrize("status", [404, 410, 500])
async def test_a_size_that_cannot_be_measured_holds_nothing_back(
    tmp_path: Path, status: int
) -> None:
    async with lab(tmp_path, PLAN, patience=0.2) as account:
        client = account.client()
        added = account.phone.add_photo("jpeg", "IMG_7777.JPG", master_forms=ZERO)
        original = account.simulator.cloud.storehouse.find_checksum(added.master)
        assert original is not None
        account.faults.set("content", "status", status=status, checksum=original.checksum)
        await client.sync()
        # Until then the best there is, and the record is owed.
        assert set(files(client, added.asset)) == {"IMG_7777-preview.JPG"}
        others = client.reader.execute("SELECT count(*) FROM inode WHERE rendition = 'original'")
        assert list(others) == [(6,)]
        (owed,) = client.reader.execute("SELECT name, reason FROM owed").fetchall()
        assert owed == (added.master, "iCloud does not tell the size of its content")

        account.faults.clear()
        await client.sync()
        assert set(files(client, added.asset)) == {"IMG_7777.JPG"}
        assert client.reader.execute("SELECT * FROM owed").fetchall() == []


async def test_types_that_only_the_name_tells(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        untyped: Forms = {"itemType": None, "resOriginalFileType": None}
        by_name = account.phone.add_photo("video", "IMG_7777.MOV", master_forms=untyped)
        by_file = account.phone.add_photo("video", "no extension", master_forms={"itemType": None})
        neither = account.phone.add_photo("jpeg", "IMG_7778.JPG", master_forms=untyped)
        await client.sync()
        places = {
            path
            for photo in (by_name, by_file, neither)
            for file in Directory(client.reader).files_of_asset(photo.asset)
            for path in Directory(client.reader).places(file.ino)
        }
        videos = {path.partition("/")[2] for path in places if path.startswith("Videos/")}
        assert videos == {"IMG_7777.MOV", "no extension.MOV"}


async def test_durations_are_kept_in_seconds(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        video, live = account.phone.add_photo("video"), account.phone.add_photo("live")
        await client.sync()
        rows = list(client.reader.execute("SELECT name, duration FROM asset"))
        assert (video.asset, 2.0) in rows
        assert (live.asset, 1.2) in rows


async def test_a_database_that_was_mended_gets_what_was_never_asked_for(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN) as account:
        client, fresh = account.client(), account.client()
        live = account.phone.add_photo("live", "IMG_7777.HEIC", edited=True)
        await client.sync()

        def as_it_was(connection: apsw.Connection) -> None:
            connection.execute(
                "UPDATE asset SET resources = json_remove(resources, '$.resVidCompl'),"
                " duration = CASE subtype_v2 WHEN 2 THEN 0 ELSE duration * 1000 END"
            )
            schema._take_contents_as_apple_has_them(connection)

        await client.database.write(as_it_was)
        # As a library that is opened does: the tree of a mended database is built anew.
        tree = Tree(ALL_VIEWS, account.now)
        await rebuild_if_changed(client.database, tree, client.changes.extend)
        client.check()
        assert "IMG_7777-edited.MOV" not in files(client, live.asset)
        await client.sync()
        assert "IMG_7777-edited.MOV" in files(client, live.asset)
        await fresh.sync()
        assert_same_records(client.reader, fresh.reader)
