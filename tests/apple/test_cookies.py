from __future__ import annotations

import time

import msgspec
import pytest

from icloudfs.apple.cookies import LARGEST, LARGEST_TOGETHER, MOST, Cookies, StoredCookie
from icloudfs.simulator.faults import BAD_COOKIES

SETUP = "https://setup.icloud.com/setup/ws/1/accountLogin"
DATABASE = "https://p61-ckdatabasews.icloud.com:443/database/1/x"
TOKEN = 'X-APPLE-WEBAUTH-TOKEN="v=2:t=AQ==BST_~x"'


def apple(cookie: str, attributes: str = "") -> str:
    when = time.strftime("%a,%d-%b-%Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))
    return f"{cookie};Expires={when};Domain=.icloud.com;Path=/;Secure;HttpOnly{attributes}"


def test_apples_form_is_taken_and_given_back_as_it_was() -> None:
    jar = Cookies()
    assert jar.harvest(SETUP, [apple(TOKEN)])
    assert jar.header_for(DATABASE) == TOKEN
    assert jar.header_for("https://idmsa.apple.com/") == ""
    assert jar.header_for("https://cvws.icloud-content.com/") == ""
    assert jar.header_for("http://p61-ckdatabasews.icloud.com/") == ""


def test_they_survive_being_stored() -> None:
    jar = Cookies()
    jar.harvest(SETUP, [apple(TOKEN)])
    again = Cookies(jar.stored())
    assert again.header_for(DATABASE) == TOKEN
    assert again.stored() == jar.stored()
    (stored,) = again.stored()
    assert stored.secure and stored.http_only and not stored.host_only


def test_reissuing_replaces_and_the_same_again_is_no_change() -> None:
    jar = Cookies()
    line = apple(TOKEN)
    assert jar.harvest(SETUP, [line])
    assert not jar.harvest(DATABASE, [line])
    assert jar.harvest(DATABASE, [apple('X-APPLE-WEBAUTH-TOKEN="other"')])
    assert jar.header_for(DATABASE) == 'X-APPLE-WEBAUTH-TOKEN="other"'


@pytest.mark.parametrize("empty", ["X-APPLE-WEBAUTH-TOKEN=", 'X-APPLE-WEBAUTH-TOKEN=""'])
def test_an_empty_value_deletes(empty: str) -> None:
    jar = Cookies()
    jar.harvest(SETUP, [apple(TOKEN)])
    assert jar.harvest(SETUP, [apple(empty)])
    assert jar.names() == frozenset()


def test_a_host_cannot_set_cookies_for_another() -> None:
    jar = Cookies()
    assert not jar.harvest("https://evil.example/", [apple(TOKEN)])
    assert not jar.stored()


def test_a_hosts_own_cookie_stays_with_it() -> None:
    jar = Cookies()
    jar.harvest("http://127.0.0.1:8080/setup", ["a=b;Path=/;Secure"])
    assert jar.header_for("http://127.0.0.1:8080/x") == "a=b"
    assert jar.header_for("http://127.0.0.2:8080/x") == ""
    assert Cookies(jar.stored()).header_for("http://127.0.0.1:8080/x") == "a=b"


def test_no_value_in_a_repr() -> None:
    jar = Cookies()
    jar.harvest(SETUP, [apple(TOKEN)])
    assert "BST" not in repr(jar)
    assert "BST" not in repr(jar.stored())
    assert "X-APPLE-WEBAUTH-TOKEN" in repr(jar)


# -- how many and how large ------------------------------------------------------------------------


def test_one_that_is_too_large_is_not_taken() -> None:
    jar = Cookies()
    assert not jar.harvest(SETUP, [apple(f"X={'x' * LARGEST}")])
    assert jar.harvest(SETUP, [apple(f"X={'x' * (LARGEST // 2)}")])


def test_so_many_are_kept_and_what_is_held_before_what_is_new() -> None:
    jar = Cookies()
    jar.harvest(SETUP, [apple(TOKEN)])
    began = time.monotonic()
    for answer in range(10):
        jar.harvest(SETUP, [apple(f"A{answer}-{number}=x") for number in range(10_000)])
    assert len(jar.stored()) == MOST
    assert jar.header_for(DATABASE).startswith(TOKEN)
    jar.harvest(DATABASE, [apple('X-APPLE-WEBAUTH-TOKEN="other"')])
    assert 'X-APPLE-WEBAUTH-TOKEN="other"' in jar.header_for(DATABASE), "it is renewed all the same"
    assert time.monotonic() - began < 5


def test_all_of_them_together_fit_a_request() -> None:
    jar = Cookies()
    jar.harvest(SETUP, [apple(TOKEN)])
    for _ in range(3):
        jar.harvest(SETUP, [apple(f"B{number}={'x' * 3000}") for number in range(90)])
    assert len(jar.header_for(DATABASE)) <= LARGEST_TOGETHER + 2 * MOST + MOST
    assert "X-APPLE-WEBAUTH-TOKEN" in jar.names()


@pytest.mark.parametrize("line", BAD_COOKIES)
def test_what_no_request_can_carry_is_not_kept(line: str) -> None:
    jar = Cookies()
    jar.harvest(SETUP, [apple(TOKEN), line.encode("latin-1").decode("latin-1")])
    assert jar.header_for(DATABASE) == TOKEN
    sent = jar.header_for(SETUP)
    assert sent.startswith(TOKEN) and sent.isascii() and sent.isprintable()
    assert msgspec.json.decode(msgspec.json.encode(jar.stored()), type=list[StoredCookie])


def test_what_an_earlier_icloudfs_kept_all_the_same_is_dropped() -> None:
    good = StoredCookie("a", "b", "setup.icloud.com", host_only=True)
    bad = StoredCookie("X-APPLE-SECRET", "p\xe4ss", "setup.icloud.com", host_only=True)
    assert Cookies([good, bad]).stored() == (good,)
    jar = Cookies()
    jar.replace([bad, good])
    assert jar.header_for(SETUP) == "a=b"
