"""A wrong clock is named, instead of a session that ends when it begins."""

from __future__ import annotations

import ssl
import time

import pytest

from icloudfs.apple import ICloud, SessionStore, clock, retry, transport
from icloudfs.apple.endpoints import GLOBAL
from icloudfs.apple.session import Session
from icloudfs.errors import LoginNeeded, Offline, WrongClock
from icloudfs.simulator import Simulator
from tests.apple.conftest import ACCOUNT, Codes, World, kept_password


@pytest.mark.parametrize(
    ("off", "words"),
    [
        (0, ""),
        (400, "6 minutes ahead of"),
        (-7200, "2 hours behind"),
        (-clock.UNKNOWN, "seems to be behind"),
        (clock.UNKNOWN, "seems to be ahead of"),
    ],
)
def test_sentences(off: int, words: str) -> None:
    assert words in clock.sentence(off)
    assert bool(clock.sentence(off)) == bool(off)


def test_an_answer_without_a_date_says_nothing() -> None:
    assert clock.seconds_off({}) is None
    assert clock.seconds_off({"Date": "yesterday"}) is None


async def test_five_minutes_are_no_matter_and_more_are_noted(signed_in: World) -> None:
    for told, noted in ((0.0, 0), (280.0, 0), (3600.0, -3600), (-86_400.0, 86_400), (1.0, 0)):
        signed_in.sim.tell_time(told)
        async with signed_in.client() as client:
            await client.photos.zones("private")
            assert bool(client.clock_trouble) == bool(noted)
        assert signed_in.store().session.clock_off == pytest.approx(noted, abs=5)


async def test_it_is_not_written_anew_for_every_second(signed_in: World) -> None:
    signed_in.sim.tell_time(3600)
    async with signed_in.client() as client:
        await client.photos.zones("private")
        noted = client.store.session.clock_off
        signed_in.sim.tell_time(3660)
        await client.photos.zones("private")
        assert client.store.session.clock_off == noted


async def test_a_refused_session_is_the_clocks_fault_if_that_is_wrong(signed_in: World) -> None:
    for kind in ("web-token", "trusted-session-token", "trust"):
        signed_in.sim.expire(kind)
    async with signed_in.client() as client:
        with pytest.raises(LoginNeeded):
            await client.photos.zones("private")
    signed_in.sim.tell_time(7300)
    async with signed_in.client() as client:
        for _ in range(3):
            with pytest.raises(WrongClock, match="2 hours behind Apple's"):
                await client.photos.zones("private")
        assert client.person_needed is None
        assert signed_in.paths.count("accountLogin") <= 4  # two of them for LoginNeeded, above


async def test_a_clock_that_is_years_ahead(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cookie has expired when it comes: a login is of no use, and says why."""
    await world.sign_in()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 800 * 86_400)
    world.sim.advance(-800 * 86_400)
    async with world.client(password=kept_password) as client:
        with pytest.raises(WrongClock, match="days ahead of Apple's"):
            await client.photos.zones("private")
        tried = len(world.paths)
        with pytest.raises(WrongClock, match="days ahead of Apple's"):
            await client.photos.zones("private")
        assert len(world.paths) <= tried + 2  # no storm
    async with world.client() as client:
        with pytest.raises(WrongClock, match="days ahead of Apple's"):
            await client.login(ACCOUNT.password, Codes())


@pytest.mark.parametrize(
    ("switch", "words"),
    [
        ("certificate_not_yet_valid", "behind Apple's.*idmsa.apple.com is not valid yet"),
        ("certificate_expired", "ahead of Apple's.*idmsa.apple.com has expired"),
    ],
)
async def test_where_tls_fails_because_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch, switch: str, words: str
) -> None:
    sim = Simulator(account=ACCOUNT)
    sim.faults.switch(**{switch: True})
    async with sim.running(proxy_port=0) as address:
        monkeypatch.setenv("HTTPS_PROXY", address.proxy_url)
        trusting = ssl.create_default_context(cadata=address.certificate.decode())
        monkeypatch.setattr(transport, "_trust", lambda: trusting)
        store = SessionStore(world.directory, ACCOUNT.apple_id)
        async with ICloud(store, GLOBAL, ACCOUNT.apple_id) as client:
            with pytest.raises(WrongClock, match=words):
                await client.login(ACCOUNT.password, Codes())


async def test_it_is_noted_for_those_who_ask_no_network(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = Simulator(account=ACCOUNT)
    sim.faults.switch(certificate_not_yet_valid=True)
    store = SessionStore(world.directory, ACCOUNT.apple_id)
    store.session.adopt(Session(dsid="1", database="https://p61-ckdatabasews.icloud.com:443"))
    store.save()
    async with sim.running(proxy_port=0) as address:
        monkeypatch.setenv("HTTPS_PROXY", address.proxy_url)
        trusting = ssl.create_default_context(cadata=address.certificate.decode())
        monkeypatch.setattr(transport, "_trust", lambda: trusting)
        async with ICloud(store, GLOBAL, ACCOUNT.apple_id) as client:
            with pytest.raises(WrongClock, match=r"ckdatabasews\S+ is not valid yet"):
                await client.photos.zones("private")
    assert world.store().session.clock_off == -clock.UNKNOWN


async def test_a_certificate_that_expired_by_a_clock_that_is_right(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = Simulator(account=ACCOUNT)
    async with sim.running(proxy_port=0) as address:
        monkeypatch.setenv("HTTPS_PROXY", address.proxy_url)
        trusting = ssl.create_default_context(cadata=address.certificate.decode())
        monkeypatch.setattr(transport, "_trust", lambda: trusting)
        store = SessionStore(world.directory, ACCOUNT.apple_id)
        async with ICloud(store, GLOBAL, ACCOUNT.apple_id) as client:
            await client.login(ACCOUNT.password, Codes())
            sim.faults.switch(certificate_expired=True)
            with pytest.raises(Offline, match="could not be verified") as caught:
                await client.photos.zones("private")
    assert not isinstance(caught.value, WrongClock)


@pytest.mark.parametrize(
    "date",
    [
        f"Mon, 01 Jan {'9' * 400} 00:00:00 GMT",
        f"Mon, 01 Jan {'9' * 5000} 00:00:00 GMT",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Mon, 01 Jan 0001 00:00:00 -0000",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "m\xfcll",
    ],
)
def test_a_date_without_any_sense_says_nothing_that_breaks(date: str) -> None:
    off = clock.seconds_off({"Date": date})
    assert off is None or isinstance(off, int)
    pause = retry.retry_after({"Retry-After": date})
    assert pause is None or 0 <= pause <= 1e6
