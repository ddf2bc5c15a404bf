"""How long Apple trusts this computer, in words, and on the screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from icloudfs.apple.session import TrustRenewal
from icloudfs.notice import SignInNotice
from icloudfs.trust import RENEW, WARN_BEFORE, Trust

DAY = 86_400


@pytest.mark.parametrize(
    ("days", "renewal", "words", "complaint"),
    [
        (12, "untried", "12 days from now, at the internet address where it was got", ""),
        (12, "live", "renewed by itself", ""),
        (12, "sign-in", "renewed by itself", ""),
        (12, "refused", f"Apple does not renew it without a code: {RENEW}", "ends in 12 days"),
        (12, "no-password", "login --save-password", "ends in 12 days"),
        (-1, "live", f"the next sign-in needs a code: {RENEW}", ""),
        (-1, "refused", f"the next sign-in needs a code: {RENEW}", "is over"),
    ],
)
def test_what_is_said_of_it(days: int, renewal: TrustRenewal, words: str, complaint: str) -> None:
    trust = Trust(days * DAY + 1 + DAY, renewal)
    assert words in trust.told(DAY)
    assert complaint in trust.complaint(DAY) and bool(complaint) == bool(trust.complaint(DAY))


def test_when_a_person_should_act() -> None:
    assert Trust(WARN_BEFORE - 1, "refused").ends_soon(0)
    assert not Trust(WARN_BEFORE + 1, "refused").ends_soon(0)
    assert not Trust(WARN_BEFORE - 1, "live").ends_soon(0)
    assert not Trust(0, "refused").ends_soon(0)
    assert Trust(1, "untried").renews is None


async def test_the_screen_says_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "notify-send"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/shown\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    notice, trust = SignInNotice("alice@example.com"), Trust(3 * DAY, "refused")
    for _ in range(3):
        await notice.trust_ends(trust.until, trust.complaint(0))
    shown = (tmp_path / "shown").read_text()
    assert shown.count("\n") == 1
    assert "alice@example.com: Apple's trust in this computer ends in 3 days" in shown
    await notice.trust_ends(trust.until + DAY, trust.complaint(0))
    assert (tmp_path / "shown").read_text().count("\n") == 2
