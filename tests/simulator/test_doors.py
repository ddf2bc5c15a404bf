"""The doors: plain, TLS with Apple's host names, control, and the thread."""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trio

from icloudfs.apple import checksum
from icloudfs.simulator import (
    Account,
    Address,
    ControlClient,
    ControlError,
    LibraryPlan,
    Simulator,
    SimulatorThread,
    serve,
)
from tests.simulator.browser import Browser

ALL = "CPLAssetAndMasterByAssetDateWithoutHiddenOrDeleted"
TINY = LibraryPlan(assets=5, oddities=False)
REAL = {
    "auth": "https://idmsa.apple.com/appleauth/auth",
    "setup": "https://setup.icloud.com/setup/ws/1",
    "home": "https://www.icloud.com",
}


async def test_the_tls_door_is_all_of_apple(tmp_path: Path) -> None:
    sim = Simulator(TINY)
    ca_file = tmp_path / "ca.pem"
    async with sim.running(proxy_port=0, ca_file=ca_file) as address:
        context = ssl.create_default_context(cafile=str(ca_file))
        async with httpx.AsyncClient(
            proxy=address.proxy_url, verify=context, trust_env=False
        ) as http:
            browser = Browser(http, REAL)
            await browser.sign_in(sim.account)
            assert browser.database == "https://p61-ckdatabasews.icloud.com:443"
            page = await browser.query(ALL)
            url = page["records"][0]["fields"]["resOriginalRes"]["value"]["downloadURL"]
            assert url.startswith("https://cvws.icloud-content.com/B/")
            assert (await http.get(url)).status_code == 200

            login = await browser.account_login()
            cookies = login.headers.get_list("set-cookie")
            token = next(c for c in cookies if c.startswith("X-APPLE-WEBAUTH-TOKEN="))
            _, expires, domain, path, *rest = token.split(";")
            assert (domain, path, rest) == ("Domain=.icloud.com", "Path=/", ["Secure", "HttpOnly"])
            assert expires[len("Expires=Tue")] == ","
            assert expires[len("Expires=Tue,")] != " "

            wrong_host = "https://setup.icloud.com/database/1/com.apple.photos.cloud/production"
            assert (await http.post(wrong_host + "/private/zones/list")).status_code == 421


async def test_a_client_that_does_not_trust_the_authority_hangs_up() -> None:
    sim = Simulator(TINY)
    async with (
        sim.running(proxy_port=0) as address,
        httpx.AsyncClient(proxy=address.proxy_url, trust_env=False) as http,
    ):
        with pytest.raises(httpx.ConnectError):
            await http.get("https://idmsa.apple.com/appleauth/auth")
        async with httpx.AsyncClient(trust_env=False, verify=False) as direct:
            assert (await direct.get(address.url + "/")).status_code == 200


async def test_a_host_header_is_enough_to_be_at_apple(sim: Simulator, address: Address) -> None:
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        answer = await http.get(
            address.url + "/appleauth/auth/authorize/signin",
            headers={"X-Original-Host": "idmsa.apple.com"},
        )
        assert "Domain=.apple.com" in answer.headers["set-cookie"]
        plain = await http.get(address.url + "/appleauth/auth/authorize/signin")
        assert "Domain" not in plain.headers["set-cookie"]
        assert "Secure" not in plain.headers["set-cookie"]


async def test_nonsense_ends_one_connection_and_nothing_else(address: Address) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", address.port)
    await stream.send_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    with trio.fail_after(2):
        assert await stream.receive_some() == b""
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        assert (await http.get(address.url + "/")).status_code == 200
        bad = await http.post(address.endpoints["setup"] + "/accountLogin", content=b"{nonsense")
        assert bad.status_code == 400
        assert (await http.get(address.url + "/nothing/here")).status_code == 404


def test_control_from_another_thread() -> None:
    with SimulatorThread(LibraryPlan(assets=110, seed=3, large_files=False)) as running:
        control = ControlClient(running.url)
        manifest = control.manifest()
        primary = [one for one in manifest if one["zone"] == "PrimarySync"]
        assert len(primary) == 110
        assert control.counts()["PrimarySync"]["all"] == sum(one["visible"] for one in primary)
        rendition = primary[0]["renditions"][0]
        content = control.content(rendition["checksum"])
        assert len(content) == rendition["size"]
        assert any(["Holidays", "Europe", "Italy 2023"] in one["albums"] for one in manifest)

        added = control.phone("add_photo", kind="jpeg", filename="NEW.JPG", keywords=["a"])
        control.phone("favorite", asset=added["asset"])
        again = {one["asset"]: one for one in control.manifest()}
        assert again[added["asset"]]["favorite"] is True
        assert again[added["asset"]]["filename"] == "NEW.JPG"
        album = control.phone("create_album", title="Control")
        control.phone("add_to_album", asset=added["asset"], album=album)
        assert any(one["path"] == ["Control"] for one in control.albums())

        with pytest.raises(ControlError, match="no asset"):
            control.phone("favorite", asset="nobody")
        with pytest.raises(ControlError, match="cannot"):
            control.phone("explode")
        with pytest.raises(ControlError, match="no such fault"):
            control.set_fault("content", "nonsense")
        with pytest.raises(ControlError):
            control.expire("nonsense")

        control.set_fault("setup", "status", status=503, times=1)
        assert httpx.post(running.url + "/setup/ws/1/validate").status_code == 503
        assert httpx.post(running.url + "/setup/ws/1/validate").status_code == 421
        assert control.traffic()["calls"] == {"setup": 2}
        control.reset_traffic()
        control.set_fault("content", "stall")
        control.switch(push_required=True)
        assert control.faults()["switches"]["push_required"] is True
        control.clear_faults()
        assert control.faults()["faults"] == []
        assert control.traffic()["total"] == 0
        control.advance(60)
        assert control.expire("all") == 0


def test_the_phone_can_be_used_from_any_thread() -> None:
    with SimulatorThread(TINY) as running:
        added = running.run(running.simulator.phone.add_photo, "png")
        assert running.simulator.cloud.zone("PrimarySync").asset(added.asset)
        with pytest.raises(KeyError):
            running.run(running.simulator.phone.favorite, "nobody")


async def test_serve_says_when_it_is_ready() -> None:
    addresses: list[Address] = []
    async with trio.open_nursery() as nursery:

        def ready(address: Address) -> None:
            addresses.append(address)
            nursery.cancel_scope.cancel()

        nursery.start_soon(serve, 0, TINY, Account(), 0.0, ready)
    assert addresses[0].port


def test_a_new_process_has_the_same_library() -> None:
    program = (
        "import json, hashlib\n"
        "from icloudfs.simulator import LibraryPlan, Simulator\n"
        "sim = Simulator(LibraryPlan(assets=12, seed=8))\n"
        "names = [n for z in sim.cloud.zones() for n in z.rows]\n"
        "first = next(iter(sim.cloud.zone('PrimarySync').assets()))\n"
        "added = sim.phone.add_photo('live')\n"
        "print(json.dumps([names, first.master, added.asset, added.master]))\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
        for _ in range(2)
    ]
    assert hashlib.sha256(runs[0]).digest() == hashlib.sha256(runs[1]).digest()
    assert len(json.loads(runs[0])[0]) > 12


async def test_json_of_another_shape_is_refused(browser: Browser) -> None:
    for endpoint, body in [
        ("changes/zone", {"zones": ["nonsense"]}),
        ("changes/zone", {}),
        ("records/query", {"query": 5, "zoneID": {"zoneName": "PrimarySync"}}),
        ("records/query", {"query": {"recordType": ALL, "filterBy": [3]}}),
        ("records/lookup", {"records": [1], "zoneID": {"zoneName": "PrimarySync"}}),
        ("records/modify", {"operations": []}),
    ]:
        answer = await browser.call(endpoint, body)
        assert answer.status_code in (400, 404), (endpoint, answer.text)
    assert (await browser.call("zones/list", {})).status_code == 200


async def test_an_error_in_the_body_comes_out_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="mine"):
        async with Simulator(TINY).running():
            raise RuntimeError("mine")


def test_the_phone_adds_a_file_of_this_machine(tmp_path: Path) -> None:
    """A movie of any content and size, for whoever wants to know what he gets back."""
    file = tmp_path / "own"
    file.write_bytes(bytes(range(256)) * 1000)
    with SimulatorThread(TINY) as running:
        control = ControlClient(running.url)
        added = control.phone("add_photo", kind="video", filename="OWN.MOV", file=str(file))
        entry = next(one for one in control.manifest() if one["asset"] == added["asset"])
        original = next(r for r in entry["renditions"] if r["rendition"] == "original")
        assert original["size"] == 256_000
        assert original["checksum"] == checksum.of(file.read_bytes())
        assert control.content(original["checksum"]) == file.read_bytes()
        with pytest.raises(ControlError, match="nowhere"):
            control.phone("add_photo", kind="video", file=str(tmp_path / "nowhere"))
