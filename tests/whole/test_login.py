"""Signing in: at a terminal and without one, in one step and in two, by device and by text."""

from __future__ import annotations

import json
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.scratch import ICLOUDFS
from tests.whole.library import Library
from tests.whole.terminal import Terminal

PASSWORD = "ICLOUDFS_PASSWORD"


@pytest.fixture
def password_file(stranger: Library) -> Path:
    """The password is there and nowhere else."""
    del stranger.environment[PASSWORD]
    path = stranger.state.with_name("password")
    path.write_text(f"{stranger.icloud.account.password}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def at_terminal(stranger: Library) -> Library:
    """Nobody has kept the password anywhere."""
    del stranger.environment[PASSWORD]
    return stranger


def terminal(library: Library, *arguments: str) -> Terminal:
    environment = library.scratch.environment | library.environment
    return Terminal([ICLOUDFS, "login", *arguments], environment)


def session_file(library: Library) -> Path:
    (path,) = library.state.glob("*.session")
    return path


def session(library: Library) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(session_file(library).read_text())
    return found


def asked_for_texts(library: Library) -> int:
    return len([c for c in library.icloud.calls(path="/verify/phone") if c["method"] == "PUT"])


# -- without a terminal ----------------------------------------------------------------------------


def test_by_password_file_and_code(stranger: Library, password_file: Path) -> None:
    done = stranger.icloudfs("login", "--password-file", password_file, "--code", "123456")

    assert done.stdout == f"Signed in as {stranger.icloud.account.apple_id}.\n"
    assert done.stderr == ""
    assert stranger.status()["signed_in"]


def test_by_environment_and_code(stranger: Library) -> None:
    stranger.icloudfs("login", "--code", "123 456")

    assert stranger.status()["signed_in"]


def test_the_session_is_its_owner_s_alone(stranger: Library) -> None:
    stranger.login()

    assert stat.S_IMODE(session_file(stranger).stat().st_mode) == 0o600
    assert stat.S_IMODE(stranger.state.stat().st_mode) == 0o700


def test_in_two_steps(stranger: Library, password_file: Path) -> None:
    first = stranger.icloudfs("login", "--password-file", password_file, check=False)
    assert first.returncode == 78
    assert first.stderr.splitlines() == [
        "icloudfs: Apple has sent a code to your devices.",
        "  Finish with: icloudfs login --code 123456 (the code you got).",
    ]
    assert not stranger.status()["signed_in"]

    # The second step needs no password any more.
    second = stranger.icloudfs("login", "--code", "123456")

    assert second.stdout.startswith("Signed in as ")
    assert stranger.status()["signed_in"]
    stranger.sync()


def test_in_two_steps_with_a_slip(stranger: Library) -> None:
    assert stranger.icloudfs("login", check=False).returncode == 78
    assert stranger.icloudfs("login", "--code", "000000", check=False).returncode == 4

    stranger.icloudfs("login", "--code", "123456")

    assert stranger.status()["signed_in"]


def test_in_two_steps_by_text(stranger: Library) -> None:
    first = stranger.icloudfs("login", "--sms", check=False)
    assert first.returncode == 78
    assert "+1 (•••) •••-••42" in first.stderr
    assert asked_for_texts(stranger) == 1

    stranger.icloudfs("login", "--code", "123456")

    assert stranger.status()["signed_in"]
    accepted = stranger.icloud.calls(path="/verify/phone/securitycode")
    assert [call["status"] for call in accepted] == [200]


def test_a_trusted_computer_needs_no_code(stranger: Library) -> None:
    stranger.login()
    trust = session(stranger)["trust_token"]

    done = stranger.icloudfs("login")

    assert done.returncode == 0
    assert session(stranger)["trust_token"] == trust


# -- at a terminal ---------------------------------------------------------------------------------


def test_a_person_is_asked_and_may_slip(at_terminal: Library) -> None:
    with terminal(at_terminal) as person:
        person.expect("Password for alice@example.com: ")
        person.enter(at_terminal.icloud.account.password)
        person.expect("Code shown on your devices ('sms' to get a text, 'again' for a new one): ")
        person.enter("12345")
        person.expect("A code has six digits.")
        person.enter("000000")
        person.expect("That code was wrong. 2 more tries.")
        person.enter("123 456")
        person.expect("Signed in as alice@example.com.")
        assert person.end() == 0

    # Only what had six digits was tried.
    tried = at_terminal.icloud.calls(path="/verify/trusteddevice/securitycode")
    assert [call["method"] for call in tried].count("POST") == 2
    assert at_terminal.icloud.account.password not in person.shown
    assert at_terminal.status()["signed_in"]


def test_a_person_asks_for_a_text(at_terminal: Library) -> None:
    with terminal(at_terminal) as person:
        person.expect("Password")
        person.enter(at_terminal.icloud.account.password)
        person.expect("Code shown on your devices")
        person.enter("again")
        person.expect("Code shown on your devices")
        person.enter("sms")
        person.expect("1  +1 (•••) •••-••42")
        person.expect("2  +49 ••• •••••17")
        person.enter("2")
        person.expect("Code sent to +49 ••• •••••17")
        person.enter("again")
        person.expect("Code sent to +49 ••• •••••17")
        person.enter("123456")
        person.expect("Signed in")
        assert person.end() == 0

    pushes = at_terminal.icloud.calls(path="/verify/trusteddevice/securitycode")
    assert [call["method"] for call in pushes] == ["PUT", "PUT"]
    assert asked_for_texts(at_terminal) == 2


def test_three_wrong_codes_are_enough(at_terminal: Library) -> None:
    with terminal(at_terminal) as person:
        person.expect("Password")
        person.enter(at_terminal.icloud.account.password)
        for left in ("2 more tries", "1 more try"):
            person.expect("Code shown")
            person.enter("000000")
            person.expect(f"That code was wrong. {left}.")
        person.enter("000000")
        person.expect("icloudfs: Apple does not accept the code.")
        assert person.end() == 4


def test_a_person_gives_up(at_terminal: Library) -> None:
    with terminal(at_terminal) as person:
        person.expect("Password")
        person.enter("\x03")
        assert person.end() == 128 + signal.SIGINT
    assert "Traceback" not in person.shown
    assert not at_terminal.status()["signed_in"]
