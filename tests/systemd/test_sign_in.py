"""A sign-in that runs out while nobody is there, and one that was never made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scratch import wait_until
from tests.systemd.cloud import PASSWORD_FILE
from tests.systemd.photos import OfServer, OfUser, Photos

_NO_SECRETS = {"client_id", "account_country", "dsid", "database", "region", "cookies"}
"""What of the session file says where, not who."""


@pytest.fixture(params=["user", "server"])
def photos(
    request: pytest.FixtureRequest, of_user: OfUser, of_server: OfServer
) -> Iterator[Photos]:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Photos)
    yield found
    for other in (of_user, of_server):
        other.login()  # their sessions end together


def test_it_runs_out_and_is_mended(photos: Photos) -> None:
    cached, remote = photos.photos()[5], photos.uncached()
    digest = photos.read(cached)
    photos.stop()  # what is near has a download URL at hand, which needs no sign-in, until then
    photos.start()
    photos.until_synced()
    main = photos.main

    photos.cloud.expire("all")

    photos.until_status("^sign in again: icloudfs login")
    assert "sign in again: icloudfs login" in photos.systemctl("status", photos.unit)
    assert "sign in again: icloudfs login" in photos.icloudfs("status")
    assert photos.read(cached) == digest
    assert "Library" in photos.views()
    code, complaint = photos.read(remote, check=False)
    assert code != 0 and "Required key" in complaint

    photos.login()

    photos.until_synced(10)
    assert photos.read(remote)[0] == 0
    assert photos.main == main
    assert photos.shown("NRestarts") == "0"


def test_a_password_that_systemd_passes_mends_it(of_server: OfServer) -> None:
    """Apple still trusts the machine, so that no code is needed, and nobody is."""
    of_server.drop_in(f"[Service]\nLoadCredential=icloud-password:{PASSWORD_FILE}\n")
    of_server.start()
    try:
        before = of_server.cloud.sign_ins()
        for what in ("session-token", "trusted-session-token", "web-token"):
            of_server.cloud.expire(what)
        wait_until(lambda: of_server.cloud.sign_ins() > before)
        assert of_server.read(of_server.photos()[8])[0] == 0
        of_server.until_synced()
    finally:
        of_server.as_before()


def test_nobody_has_signed_in(of_user: OfUser) -> None:
    """Nothing to show: it says so and is not started again and again, which Apple would not like."""
    of_user.icloudfs("logout")
    of_user.icloudfs("reset-state", "--yes")
    try:
        of_user.systemctl("start", of_user.unit, check=False)
        assert of_user.shown("ExecMainStatus") == "78"
        assert of_user.shown("ActiveState") == "failed"
        assert of_user.shown("NRestarts") == "0"
        logged = of_user.machine.journal("--lines=20", f"_UID={of_user.machine.uid('me')}")
        assert "Run 'icloudfs login'." in logged
    finally:
        of_user.as_before()


def test_no_secret_is_in_the_journal_or_among_the_processes(user: OfUser, server: OfServer) -> None:
    """After all of the above, with everything that can be logged."""
    account = user.cloud.account
    secrets = {account.password, account.code}
    for photos in (user, server):
        session = photos.session()
        secrets |= {str(value) for key, value in session.items() if key not in _NO_SECRETS}
        secrets |= {cookie["value"] for cookie in session["cookies"]}
    secrets = {secret for secret in secrets if len(secret) >= 8}
    machine = user.machine
    written = {
        "the journal": machine.journal("--output=export", "--lines=all"),
        "a command line": machine.run("ps", "-eo", "args").stdout,
        "systemctl show": machine.run("systemctl", "show", server.unit).stdout,
    }
    assert "DEBUG" in written["the journal"] or "PRIORITY=7" in written["the journal"]
    assert len(secrets) >= 8
    found = [
        f"{secret[:4]}… in {place}"
        for place, text in written.items()
        for secret in secrets
        if secret in text
    ]
    assert found == []
