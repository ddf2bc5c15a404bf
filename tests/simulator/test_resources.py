"""The contents that records name, in Apple's forms (facts/cloudkit.md §1.8 and §1.12)."""

from __future__ import annotations

from typing import Any

import pytest

from icloudfs.simulator import Simulator
from tests.simulator.browser import Browser, Json


async def fields_of(browser: Browser, *names: str) -> list[Json]:
    body = {
        "zoneID": {"zoneName": "PrimarySync"},
        "records": [{"recordName": name} for name in names],
    }
    return [record["fields"] for record in (await browser.ask("records/lookup", body))["records"]]


def assert_whole(fields: Json, prefix: str) -> None:
    """The content is there with all that goes with it."""
    value = fields[f"{prefix}Res"]["value"]
    assert value["downloadURL"]
    assert fields[f"{prefix}Fingerprint"]["value"] == value["fileChecksum"]
    assert fields[f"{prefix}FileType"]["value"]
    assert fields[f"{prefix}Width"]["value"] > 0
    assert fields[f"{prefix}Height"]["value"] > 0


@pytest.mark.parametrize("kind", ["video", "slomo", "timelapse", "live"])
async def test_videos_and_live_photos_have_smaller_videos(
    sim: Simulator, browser: Browser, kind: Any
) -> None:
    added = sim.phone.add_photo(kind)
    (master,) = await fields_of(browser, added.master)
    for prefix in ("resVidMed", "resVidSmall"):
        assert_whole(master, prefix)
        value = master[f"{prefix}Res"]["value"]
        assert master[f"{prefix}FileSize"]["value"] == value["size"]
        assert master[f"{prefix}FileType"]["value"] == "com.apple.quicktime-movie"
        movie = (await browser.http.get(value["downloadURL"])).content
        assert len(movie) == value["size"]
        assert movie[4:8] == b"ftyp"
    assert master["resVidSmallRes"] != master["resVidMedRes"]
    assert master["resOriginalFileSize"]["value"] == master["resOriginalRes"]["value"]["size"]


async def test_a_photo_has_no_smaller_videos(sim: Simulator, browser: Browser) -> None:
    (master,) = await fields_of(browser, sim.phone.add_photo("heic").master)
    assert not [key for key in master if key.startswith("resVid")]


async def test_durations_are_milliseconds(sim: Simulator, browser: Browser) -> None:
    video, live = sim.phone.add_photo("video"), sim.phone.add_photo("live")
    of_video, of_live = await fields_of(browser, video.asset, live.asset)
    assert of_video["duration"] == {"value": 2000, "type": "INT64"}
    assert of_live["duration"]["value"] == 0
    assert of_live["vidComplDurValue"]["value"] / of_live["vidComplDurScale"]["value"] == 1.2


async def test_an_edited_live_photo_has_its_video_on_the_asset(
    sim: Simulator, browser: Browser
) -> None:
    on_the_phone = sim.phone.add_photo("live")
    sim.phone.edit(on_the_phone.asset)
    from_the_library = sim.phone.add_photo("live", edited=True)
    for fields in await fields_of(browser, on_the_phone.asset, from_the_library.asset):
        assert_whole(fields, "resVidCompl")
        assert fields["resVidComplFileType"]["value"] == "com.apple.quicktime-movie"
        assert fields["resJPEGFullFileType"]["value"] == "public.heic"
        assert "resVidFullRes" not in fields


async def test_a_slow_motion_video_has_a_rendition_by_itself_and_another_when_it_is_edited(
    sim: Simulator, browser: Browser
) -> None:
    added = sim.phone.add_photo("slomo")

    async def now() -> tuple[str, str]:
        (fields,) = await fields_of(browser, added.asset)
        assert_whole(fields, "resVidFull")
        return (
            fields["adjustmentType"]["value"],
            fields["resVidFullRes"]["value"]["fileChecksum"],
        )

    by_itself = await now()
    assert by_itself[0] == "com.apple.video.slomo"
    sim.phone.edit(added.asset)
    edited = await now()
    assert edited[0] == "com.apple.video"
    assert edited[1] != by_itself[1]
    sim.phone.revert(added.asset)
    assert (await now())[0] == "com.apple.video.slomo"


async def test_records_that_are_written_otherwise(sim: Simulator, browser: Browser) -> None:
    added = sim.phone.add_photo("heic")
    forms: Json = {
        "resOriginalFileType": None,
        "resOriginalRes": {"size": 0, "fileChecksum": None},
        "itemType": {"value": None, "type": "STRING"},
    }
    sim.phone.write_otherwise(added.asset, forms, master=True)
    sim.phone.write_otherwise(added.asset, {"timeZoneOffset": None})
    master, asset = await fields_of(browser, added.master, added.asset)
    assert "resOriginalFileType" not in master
    assert master["resOriginalRes"]["value"]["size"] == 0
    assert "fileChecksum" not in master["resOriginalRes"]["value"]
    assert master["resOriginalRes"]["value"]["downloadURL"]
    assert master["itemType"]["value"] is None
    assert "timeZoneOffset" not in asset
    assert "timeZoneNameEnc" in asset
