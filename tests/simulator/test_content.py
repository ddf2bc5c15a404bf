"""Content URLs, ranges, and everything that can go wrong on the way: facts/cloudkit.md §1.9, §1.10."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
import trio
import trio.testing

from icloudfs.apple import checksum
from icloudfs.simulator import Simulator
from tests.simulator.browser import Browser, Json

ALL = "CPLAssetAndMasterByAssetDateWithoutHiddenOrDeleted"


@pytest.fixture
async def resource(browser: Browser) -> Json:
    """The ASSETID value of the first photo's medium rendition."""
    page = await browser.query(ALL)
    found: Json = page["records"][0]["fields"]["resJPEGMedRes"]["value"]
    return found


async def test_the_opaque_fields_follow_from_each_other(browser: Browser, resource: Json) -> None:
    url = urlsplit(resource["downloadURL"])
    key = base64.b64decode(resource["wrappingKey"])
    reference = b"\x01" + hashlib.sha1(key).digest()
    assert base64.b64decode(resource["referenceChecksum"]) == reference
    raw = base64.b64decode(resource["fileChecksum"]) + reference
    assert unquote(url.path) == f"/B/{base64.urlsafe_b64encode(raw).decode()}/${{f}}"
    assert parse_qs(url.query)["k"] == [base64.urlsafe_b64encode(key).rstrip(b"=").decode()]
    body = (await browser.http.get(resource["downloadURL"])).content
    assert checksum.of(body) == resource["fileChecksum"]


async def test_ranges(browser: Browser, resource: Json) -> None:
    url, size = resource["downloadURL"], resource["size"]
    whole = await browser.http.get(url)
    assert whole.status_code == 200
    assert whole.headers["Accept-Ranges"] == "bytes"
    for asked, part in [
        ("bytes=0-", whole.content),
        ("bytes=100-199", whole.content[100:200]),
        ("bytes=-50", whole.content[-50:]),
        (f"bytes={size - 1}-{size + 99}", whole.content[-1:]),
    ]:
        answer = await browser.http.get(url, headers={"Range": asked})
        assert answer.status_code == 206
        assert answer.content == part
        assert answer.headers["Content-Range"].endswith(f"/{size}")
    beyond = await browser.http.get(url, headers={"Range": f"bytes={size}-"})
    assert beyond.status_code == 416
    head = await browser.http.head(url)
    assert head.headers["Content-Length"] == str(size)


async def test_urls_expire_and_cannot_be_made_up(
    sim: Simulator, browser: Browser, resource: Json
) -> None:
    url = resource["downloadURL"]
    assert (await browser.http.get(url.replace("&s=", "&s=x"))).status_code == 410
    assert (await browser.http.get(url.split("?")[0])).status_code == 410
    sim.advance(800)
    assert (await browser.http.get(url)).status_code == 200
    sim.advance(200)
    assert (await browser.http.get(url)).status_code == 410


async def test_content_may_want_cookies(sim: Simulator, resource: Json) -> None:
    sim.faults.switch(content_needs_cookies=True)
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        answer = await http.get(resource["downloadURL"])
    assert (answer.status_code, len(answer.content)) == (200, 17)


async def test_faults_of_content(sim: Simulator, browser: Browser, resource: Json) -> None:
    url, size = resource["downloadURL"], resource["size"]

    async def get(fault: str, **details: object) -> httpx.Response:
        sim.faults.set("content", fault, times=1, **details)  # type: ignore[arg-type]
        return await browser.http.get(url)

    with pytest.raises(httpx.RemoteProtocolError):
        await get("truncate")
    with pytest.raises(httpx.RemoteProtocolError):
        await get("drop")
    with pytest.raises(httpx.RemoteProtocolError):
        await get("drop", after=1000)
    short = await get("short", after=100)
    assert len(short.content) == int(short.headers["Content-Length"]) == 100
    flipped = (await get("flip")).content
    assert len(flipped) == size
    assert checksum.of(flipped) != resource["fileChecksum"]
    assert (await get("html")).text.startswith("<html>")
    assert "error" in (await get("json")).json()
    assert len((await get("tiny")).content) == 17
    assert (await get("gone")).status_code == 410
    busy = await get("status", status=503, retry_after=7)
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "7")
    sim.faults.set("content", "no-range", times=1)
    ignored = await browser.http.get(url, headers={"Range": "bytes=10-19"})
    assert (ignored.status_code, len(ignored.content)) == (200, size)
    assert (await browser.http.get(url)).status_code == 200
    assert sim.faults.active == []


async def test_slow_and_stalled(sim: Simulator, browser: Browser, resource: Json) -> None:
    sim.faults.set("content", "throttle", bytes_per_second=resource["size"] * 4, times=1)
    begun = trio.current_time()
    assert len((await browser.http.get(resource["downloadURL"])).content) == resource["size"]
    assert trio.current_time() - begun > 0.2
    sim.faults.set("content", "stall", after=500)
    with trio.move_on_after(0.3) as scope:
        await browser.http.get(resource["downloadURL"])
    assert scope.cancelled_caught


async def test_a_fault_may_be_for_one_content(sim: Simulator, browser: Browser) -> None:
    page = await browser.query(ALL)
    one, two = (page["records"][i]["fields"]["resJPEGThumbRes"]["value"] for i in (0, 1))
    sim.faults.set("content", "gone", checksum=one["fileChecksum"])
    assert (await browser.http.get(one["downloadURL"])).status_code == 410
    assert (await browser.http.get(two["downloadURL"])).status_code == 200


async def test_faults_of_the_database(sim: Simulator, browser: Browser) -> None:
    faults = sim.faults
    faults.set("query", "try-again", times=1, retry_after=2)
    answer = await browser.query(ALL)
    assert (answer["serverErrorCode"], answer["retryAfter"]) == ("TRY_AGAIN_LATER", 2)
    faults.set("query", "record-error", times=1)
    first = (await browser.query(ALL))["records"][0]
    assert set(first) == {"recordName", "serverErrorCode", "reason"}
    faults.set("query", "orphans", times=1, count=5)
    page = await browser.query(ALL)
    kinds = [record["recordType"] for record in page["records"]]
    assert kinds.count("CPLMaster") <= kinds.count("CPLAsset") - 5
    faults.set("query", "missing-url", times=1)
    page = await browser.query(ALL)
    assert "downloadURL" not in page["records"][0]["fields"]["resOriginalRes"]["value"]
    faults.set("query", "missing-filename", times=1)
    assert all("filenameEnc" not in r["fields"] for r in (await browser.query(ALL))["records"])
    faults.set("*", "status", status=429, times=2)
    assert (await browser.call("zones/list", {})).status_code == 429
    assert (await browser.setup("/validate")).status_code == 429
    assert (await browser.call("zones/list", {})).status_code == 200


async def test_faults_of_changes(sim: Simulator, browser: Browser) -> None:
    faults = sim.faults
    first = await browser.changes()
    faults.set("changes", "reject-token", times=1)
    rejected = await browser.changes(first["syncToken"])
    assert rejected["serverErrorCode"] == "BAD_REQUEST"
    faults.set("changes", "empty-page", times=1)
    empty = await browser.changes(first["syncToken"])
    assert (empty["records"], empty["moreComing"]) == ([], True)
    assert empty["syncToken"] == first["syncToken"]
    faults.set("changes", "split", times=1)
    split = await browser.changes()
    assert split["records"][-1]["recordType"] == "CPLMaster"
    following = await browser.changes(split["syncToken"])
    assert following["records"][0]["recordType"] == "CPLAsset"
    faults.set("changes", "asset-only", times=1)
    assert "CPLMaster" not in {r["recordType"] for r in (await browser.changes())["records"]}
    faults.set("changes", "zone-error", times=1, code="RETRY_LATER")
    assert (await browser.changes())["serverErrorCode"] == "RETRY_LATER"


async def test_traffic_is_counted(sim: Simulator, browser: Browser, resource: Json) -> None:
    sim.traffic.reset()
    body = (
        await browser.http.get(resource["downloadURL"], headers={"Range": "bytes=0-99"})
    ).content
    await browser.ask("zones/list", {})
    assert len(body) == 100
    assert sim.traffic.calls == {"content": 1, "changes": 1}
    assert sim.traffic.endpoints["private/zones/list"] == 1
    assert sim.traffic.content_bytes == {resource["fileChecksum"]: 100}
    assert sim.traffic.content_gets == {resource["fileChecksum"]: 1}
    assert sim.traffic.log[0].range == "bytes=0-99"
    sim.traffic.reset()
    assert sim.traffic.total == 0


async def test_latency_and_concurrency(sim: Simulator, browser: Browser) -> None:
    sim.application.latency = 0.1
    sim.traffic.reset()
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(browser.ask, "zones/list", {})
    assert trio.current_time() - begun >= 0.1
    # Side by side, or no two calls would ever have been under way at once.
    assert sim.traffic.concurrent_max >= 4
    await trio.testing.wait_all_tasks_blocked(0.05)  # a call ends when its answer is on its way
    assert sim.traffic.concurrent == 0
