"""Signing in: at a terminal and without one, in one step and in two, by device and by text."""

from __future__ import annotations

import json
import re
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.scratch import ICLOUDFS, Scratch
from tests.whole.library import Library
from tests.whole.local_icloud import LocalICloud
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


@pytest.mark.parametrize("how", ["--sms", "--call"])
def test_in_two_steps_by_phone_as_it_was_asked_for(stranger: Library, how: str) -> None:
    stranger.icloud.control.switch(non_fteu_required=True)
    assert stranger.icloudfs("login", how, check=False).returncode == 78
    kept = session(stranger)["pending"]
    assert (kept["code_by_call"], kept["code_non_fteu"]) == (how == "--call", True)

    stranger.icloudfs("login", "--code", "123456")

    assert stranger.status()["signed_in"]


# -- accounts of other kinds -----------------------------------------------------------------------


@contextmanager
def account_of_kind(scratch: Scratch, kind: str) -> Iterator[Library]:
    icloud = LocalICloud(scratch, "--account", kind, assets=3)
    library = Library(icloud, scratch)
    yield library
    library.end()
    icloud.stop()


def test_escrow_at_a_terminal_in_two_steps(scratch: Scratch) -> None:
    with account_of_kind(scratch, "escrow") as library:
        first = library.icloudfs("login", check=False)
        assert first.returncode == 78
        assert "It asks for the password once more." in first.stderr
        password = library.environment.pop(PASSWORD)

        # Without a terminal and without a password it says what is missing, and spends no code.
        alone = library.icloudfs("login", "--code", "123456", check=False)
        assert alone.returncode == 78
        assert alone.stderr.splitlines() == [
            "icloudfs: Apple wants the password once more, beside the code.",
            "  Give it with --password-file or ICLOUDFS_PASSWORD.",
        ]
        assert not library.icloud.calls(path="/verify/trusteddevice/securitycode")[1:]

        with terminal(library, "--code", "123456") as person:
            person.expect("Apple wants the password once more, beside the code.")
            person.expect("Password for alice@example.com: ")
            person.enter("mistyped")
            person.expect("icloudfs: Apple does not accept the password.")
            assert person.end() == 3
        # The code was right: only the password is missing.
        with terminal(library) as person:
            person.expect("Password for alice@example.com: ")
            person.enter(password)
            person.expect("Signed in as alice@example.com.")
            assert person.end() == 0
        library.environment[PASSWORD] = password

        assert library.icloudfs("login").returncode == 0  # and no code from now on
        pushed = library.icloud.calls(path="/verify/trusteddevice/securitycode")
        assert [call["method"] for call in pushed] == ["PUT", "POST"]


def test_escrow_in_a_renewal_that_nobody_watches(scratch: Scratch) -> None:
    with account_of_kind(scratch, "escrow") as library:
        library.login()
        library.icloud.control.expire("web-token")
        library.icloud.control.expire("trusted-session-token")
        library.icloud.control.reset_traffic()

        library.sync()

        assert [c["status"] for c in library.icloud.calls(path="/escrow/complete")] == [200]
        assert not library.icloud.calls(path="/verify/trusteddevice/securitycode")


@pytest.mark.parametrize(
    ("kind", "code", "says", "hint"),
    [
        ("other-region", 6, "belongs to iCloud.com.cn", "--region china"),
        ("repair", 12, "wants something done", "https://www.icloud.com once"),
        ("inactive", 12, "not active", "https://www.icloud.com once"),
        ("stronger-password", 12, "stronger password", "account.apple.com"),
    ],
)
def test_accounts_that_cannot_be_used_yet(
    scratch: Scratch, kind: str, code: int, says: str, hint: str
) -> None:
    with account_of_kind(scratch, kind) as library:
        done = library.icloudfs("login", "--code", "123456", check=False)
        assert (done.returncode, done.stdout) == (code, "")
        sentence, advice = done.stderr.splitlines()
        assert says in sentence and hint in advice
        assert not library.status()["signed_in"]


@pytest.mark.parametrize("kind", ["one-factor", "code-409", "code-412"])
def test_accounts_that_can_be_used(scratch: Scratch, kind: str) -> None:
    with account_of_kind(scratch, kind) as library:
        library.login()
        library.sync()
        assert library.icloudfs("login").returncode == 0


def test_an_approval_and_its_end_are_in_the_status(scratch: Scratch) -> None:
    with account_of_kind(scratch, "consent") as library:
        library.login()
        assert library.status()["consented_until"] is None
        waiting = library.icloudfs("sync", "--mirror", "demand").stderr
        assert waiting.count("Approve access to your photos on your iPhone, iPad or Mac") == 1
        left = library.status()["consented_until"] - time.time()
        assert 3000 < left < 3700
        assert "Approval    given on a device, until " in library.icloudfs("status").stdout
        path = session_file(library)
        path.write_text(json.dumps(session(library) | {"pcs_ends_at": 1_700_000_000_000}))
        assert "Approval    ended " in library.icloudfs("status").stdout


# -- advice ----------------------------------------------------------------------------------------


_FAILURES: dict[str, dict[str, Any]] = {
    "a 401 from the start": {"path": "/signin/init", "status": 401},
    "an unknown Apple ID": {"path": "/signin/complete", "status": 403},
    "a wrong password": {
        "path": "/signin/complete",
        "status": 401,
        "body": '{"serviceErrors":[{"code":"-20101"}]}',
    },
    "a code too late": {"path": "/securitycode", "status": 401},
    "no trust": {"path": "/2sv/trust", "status": 401},
    "not opened": {"path": "/accountLogin", "status": 421},
    "not opened at all": {"path": "/accountLogin", "status": 403},
    "a code wanted again": {
        "path": "/accountLogin",
        "status": 200,
        "body": '{"dsInfo":{"hsaVersion":2},"hsaChallengeRequired":true}',
    },
}


_ASKED = {
    "a code too late": 1,
    "no trust": 1,
    "not opened": 1,
    "not opened at all": 1,
    "a code wanted again": 1,
}
"""How often a person at a terminal is asked for a code; 0 if not named."""


@pytest.mark.parametrize("failure", _FAILURES)
@pytest.mark.parametrize("steps", ["one", "two", "person"])
def test_no_command_advises_to_run_itself(stranger: Library, failure: str, steps: str) -> None:
    stranger.icloud.control.set_fault("*", "status", **_FAILURES[failure])
    password = stranger.icloud.account.password
    shown = ""
    if steps == "one":
        shown = stranger.icloudfs("login", "--code", "123456", check=False).stderr
        assert "login --code" not in shown
    elif steps == "two":
        first = stranger.icloudfs("login", check=False)
        assert not re.search(r"icloudfs login(?! --code)", first.stderr)
        shown = stranger.icloudfs("login", "--code", "123456", check=False).stderr
        assert "login --code" not in shown
    else:
        del stranger.environment[PASSWORD]
        with terminal(stranger) as person:
            person.expect("Password")
            person.enter(password)
            for _ in range(_ASKED.get(failure, 0)):
                person.expect("Code shown on your devices")
                person.enter("123456")
            assert person.end() != 0
            shown = person.shown
        assert "icloudfs login" not in shown
    assert "icloudfs: " in shown and "Traceback" not in shown


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


def test_a_person_is_told_the_way_out_and_may_be_called(at_terminal: Library) -> None:
    at_terminal.icloud.control.switch(non_fteu_required=True)
    with terminal(at_terminal) as person:
        person.expect("Password")
        person.enter(at_terminal.icloud.account.password)
        person.expect("No code? On an iPhone: Settings, your name, Sign-In & Security, ")
        person.expect("Get Verification Code; that works without a network, too.")
        person.expect("'call' for a call.")
        person.enter("call")
        person.expect("Which phone")
        person.enter("2")
        person.expect("Code spoken to +49 ••• •••••17")
        person.enter("123456")
        person.expect("Signed in")
        assert person.end() == 0


def test_a_person_gives_up(at_terminal: Library) -> None:
    with terminal(at_terminal) as person:
        person.expect("Password")
        person.enter("\x03")
        assert person.end() == 128 + signal.SIGINT
    assert "Traceback" not in person.shown
    assert not at_terminal.status()["signed_in"]
