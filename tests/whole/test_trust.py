"""A computer that runs is asked for a code once (facts/sign-in.md §6.3), and told if its clock is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scratch import Scratch, wait_until
from tests.whole.library import Library
from tests.whole.local_icloud import LocalICloud

_DAY = 86_400.0
_LATER = Path(__file__).with_name("later")


class Computer(Library):
    """A computer whose time, and Apple's with it, a test lets pass."""

    def __init__(self, icloud: LocalICloud, scratch: Scratch) -> None:
        super().__init__(icloud, scratch, "computer")
        self._later_by = scratch.folder / "later"
        self.gone = 0.0
        """Seconds that have passed for both."""
        self.set_clock(0)
        self.environment |= {"PYTHONPATH": str(_LATER), "LATER_BY": str(self._later_by)}

    def set_clock(self, ahead: float) -> None:
        """Let this computer's clock alone be ahead, by so many seconds."""
        fresh = self._later_by.with_suffix(".new")
        fresh.write_text(str(self.gone + ahead))
        fresh.replace(self._later_by)

    def skip(self, days: float) -> None:
        """Let days pass."""
        self.gone += days * _DAY
        self.icloud.control.advance(days * _DAY)
        self.set_clock(0)

    def sleep(self, days: float) -> None:
        """Let days pass, and then as many looks at iCloud as show that all is settled."""
        self.skip(days)
        self.settle()

    def settle(self) -> None:
        before = self.looks()
        wait_until(lambda: self.looks() > before + 4, 30)

    def looks(self) -> int:
        return len(self.icloud.calls(path="private/changes/database"))

    def codes(self) -> list[str]:
        """What was asked of Apple that shows a code on a device, or sends one to a phone."""
        calls = self.icloud.calls(kind="signin")
        return [c["path"] for c in calls if "/verify/" in c["path"] and c["method"] == "PUT"]

    def begin(self) -> None:
        """Sign in with a code, list, and mount."""
        self.login()
        self.sync()
        self.icloud.control.reset_traffic()
        self.mount("--interval", "0.2")


@pytest.fixture
def kind() -> str:
    return "ordinary"


@pytest.fixture
def computer(scratch: Scratch, kind: str) -> Iterator[Computer]:
    icloud = LocalICloud(scratch, "--account", kind, assets=8)
    computer = Computer(icloud, scratch)
    yield computer
    computer.end()
    icloud.stop()
    assert not computer.log.exists() or "Traceback" not in computer.log.read_text()


@pytest.mark.parametrize("kind", ["ordinary", "trust-after-sign-in"])
def test_a_computer_that_runs_for_120_days_asks_for_no_code(computer: Computer) -> None:
    computer.begin()
    for _ in range(20):
        computer.sleep(6)
        told = computer.status()
        assert told["trusted_until"] > time.time() + computer.gone + 8 * _DAY
        assert not told["now"]["sign_in_needed"]
    assert told["trust_renews"] is True
    assert "renewed by itself" in computer.icloudfs("status").stdout
    assert computer.codes() == []
    proofs = len(computer.icloud.calls(path="/signin/complete"))
    assert proofs == (0 if told["trust_renewal"] == "live" else 120 // 18)
    photo = computer.icloud.control.phone("add_photo")["asset"]
    assert computer.until_shown(photo)


@pytest.mark.parametrize("kind", ["trust-once"])
def test_one_whose_trust_is_not_renewed_says_so_well_before_it_ends(computer: Computer) -> None:
    computer.begin()
    for _ in range(3):
        computer.sleep(6)
    told = computer.status()
    assert told["trust_renews"] is False and told["trust_renewal"] == "refused"
    assert 11 * _DAY < told["trusted_until"] - time.time() - computer.gone < 13 * _DAY
    assert "a code will be needed in 11 days" in computer.log.read_text()
    for words in ("at the internet address where it was got", "icloudfs login --renew-trust"):
        assert words in computer.icloudfs("status").stdout
    computer.sleep(6)
    examined = computer.icloudfs("doctor", "--json", check=False)
    (finding,) = (f for f in json.loads(examined.stdout) if f["about"] == "sign-in")
    assert not finding["well"] and finding["mend"] == "icloudfs login --renew-trust"
    assert computer.codes() == []

    computer.icloudfs("login", "--renew-trust", "--code", computer.icloud.account.code)

    told = computer.status()
    assert told["trusted_until"] > time.time() + computer.gone + 29 * _DAY
    assert told["trust_renews"] is None


def test_a_sync_now_and_then_is_enough(computer: Computer) -> None:
    computer.login()
    computer.icloud.control.reset_traffic()
    for _ in range(9):
        computer.skip(7.5)
        computer.sync()
    assert computer.status()["trust_renewal"] == "live"
    assert computer.codes() == [] and not computer.icloud.calls(path="/signin/complete")


def test_killed_in_the_middle_of_a_renewal_it_loses_nothing(computer: Computer) -> None:
    computer.begin()
    computer.sleep(7.5)
    before = _session(computer)
    computer.icloud.control.set_fault("setup", "delay", seconds=60, path="accountLogin")
    computer.skip(8)
    wait_until(lambda: computer.icloud.calls(path="accountLogin"), 30)
    wait_until(lambda: computer.icloud.calls(path="2sv/trust"), 30)

    computer.kill()
    computer.scratch.run("umount", "-l", computer.mount_point)

    after = _session(computer)
    for name in ("trust_token", "session_token", "trusted_at"):
        assert after[name] == before[name]
    computer.icloud.control.clear_faults()
    computer.mount("--interval", "0.2")
    computer.settle()
    computer.sleep(0.1)
    told = computer.status()
    assert told["trust_renews"] is True and not told["now"]["sign_in_needed"]
    assert computer.codes() == []


def test_a_code_that_another_process_hands_in_wakes_a_mount_that_waits(computer: Computer) -> None:
    computer.begin()
    control = computer.icloud.control
    control.switch(code_accepted_with_409=True)
    for what in ("web-token", "trusted-session-token", "trust"):
        control.expire(what)
    wait_until(lambda: computer.status()["now"]["sign_in_needed"], 30)
    assert "another internet address" in computer.log.read_text()
    assert computer.codes() == []
    photo = control.phone("add_photo")["asset"]

    begun = computer.icloudfs("login", check=False)
    assert begun.returncode == 78 and "sent a code" in begun.stderr
    assert computer.status()["now"]["sign_in_needed"]
    computer.icloudfs("login", "--code", computer.icloud.account.code)

    assert computer.until_shown(photo)
    assert not computer.status()["now"]["sign_in_needed"]


def test_a_clock_that_is_hours_off_is_named(computer: Computer) -> None:
    computer.set_clock(2.5 * 3600)
    named = "This computer's clock is 2 hours ahead of Apple's."
    assert named in computer.icloudfs("login", "--code", "123456").stderr
    assert named in computer.icloudfs("sync", "--mirror", "demand").stderr
    assert computer.status()["clock_off"] == pytest.approx(9000, abs=30)
    assert f"Clock       {named}" in computer.icloudfs("status").stdout
    examined = computer.icloudfs("doctor", check=False)
    assert examined.returncode == 16 and f"BAD  clock        {named}" in examined.stdout

    computer.set_clock(0)
    computer.sync()
    assert "Clock" not in computer.icloudfs("status").stdout


def test_a_clock_that_is_years_off_is_named_and_not_a_circle(computer: Computer) -> None:
    computer.login()
    computer.set_clock(800 * _DAY)
    for command in (("login", "--code", "123456"), ("sync",)):
        done = computer.icloudfs(*command, check=False)
        assert done.returncode == 21
        assert "days ahead of Apple's" in done.stderr and "timedatectl" in done.stderr
    assert "days ahead of Apple's" in computer.icloudfs("status").stdout


@pytest.mark.parametrize("kind", ["no-photos"])
def test_an_account_without_photos(computer: Computer) -> None:
    computer.login()
    for command in ("sync",), ("mount", str(computer.mount_point)):
        done = computer.icloudfs(*command, check=False)
        assert done.returncode == 20
        assert "This account has no iCloud Photos" in done.stderr
        assert "Nothing changed" not in done.stdout
    assert not computer.is_mounted


def _session(computer: Computer) -> Any:
    (path,) = computer.state.glob("*.session")
    return json.loads(path.read_text())
