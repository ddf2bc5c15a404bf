from __future__ import annotations

import logging
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from icloudfs.apple.cookies import StoredCookie
from icloudfs.apple.session import Session, SessionStore, stem
from icloudfs.errors import ConfigError

APPLE_ID = "alice@example.com"


def filled() -> Session:
    session = Session(
        client_id="auth-1",
        session_token="secret-session",
        trust_token="secret-trust",
        trusted_at=1,
        scnt="secret-scnt",
        dsid="42",
        database="https://p61-ckdatabasews.icloud.com:443",
    )
    session.cookies.replace([StoredCookie("T", '"secret-cookie"', ".icloud.com", secure=True)])
    return session


def stored(directory: Path) -> SessionStore:
    store = SessionStore(directory, APPLE_ID)
    store.session.adopt(filled())
    store.save()
    return store


def test_it_survives_a_restart_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    store = stored(tmp_path / "new")
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    again = SessionStore(tmp_path / "new", "ALICE@example.com ").session
    assert again == filled() or again.to_json() == filled().to_json()
    assert again.is_usable


def test_no_secret_in_a_repr() -> None:
    assert "secret" not in repr(filled())


def test_wider_permissions_are_tightened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = stored(tmp_path)
    store.path.chmod(0o644)
    assert SessionStore(tmp_path, APPLE_ID).session.trust_token == "secret-trust"
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert "readable by others" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"client_id": 3}',
        b"\xff\xfe",
        b'{"client_id":"a","x',
        b"0",
    ],
)
def test_a_damaged_file_counts_as_none(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "alice@example.com.session").write_bytes(content)
    store = SessionStore(tmp_path, APPLE_ID)
    assert not store.session.is_usable
    assert store.session.client_id.startswith("auth-")
    assert "damaged" in caplog.text


@given(st.binary(max_size=200))
def test_no_content_of_the_file_can_crash(content: bytes) -> None:
    with suppress(ValueError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
        Session.from_json(content)


def test_every_cut_of_a_real_file_counts_as_none(tmp_path: Path) -> None:
    store = stored(tmp_path)
    whole = store.path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        store.path.write_bytes(whole[:length])
        assert not SessionStore(tmp_path, APPLE_ID).session.is_usable


def test_a_file_that_is_a_directory_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "alice@example.com.session").mkdir()
    assert not SessionStore(tmp_path, APPLE_ID).session.is_usable
    assert "cannot be read" in caplog.text


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SessionStore(tmp_path / "file" / "below", APPLE_ID)
    with pytest.raises(ConfigError, match="session cannot be kept"):
        store.save()


KILLED = """
import os, signal, sys
from pathlib import Path
from icloudfs.apple.session import SessionStore
store = SessionStore(Path(sys.argv[1]), "alice@example.com")
store.session.trust_token = "new"
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
store.save()
"""


def test_killed_between_the_temporary_file_and_the_rename(tmp_path: Path) -> None:
    store = stored(tmp_path)
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    leftovers = list(tmp_path.glob(".*.tmp"))
    assert len(leftovers) == 1
    assert stat.S_IMODE(leftovers[0].stat().st_mode) == 0o600
    assert SessionStore(tmp_path, APPLE_ID).session.trust_token == "secret-trust"
    store.save()
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stored(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    store.session.trust_token = "new"
    with pytest.raises(ConfigError, match="No space left"):
        store.save()
    monkeypatch.undo()
    assert SessionStore(tmp_path, APPLE_ID).session.trust_token == "secret-trust"
    assert not list(tmp_path.glob(".*.tmp"))


def test_another_process_is_noticed_and_its_sign_in_not_overwritten(tmp_path: Path) -> None:
    daemon = stored(tmp_path)
    command = SessionStore(tmp_path, APPLE_ID)
    assert not daemon.changed()
    command.session.session_token = "newer"
    command.save()
    assert daemon.changed()
    daemon.session.scnt = "routine"
    held = daemon.session
    assert not daemon.save_if_current()
    assert daemon.session is held
    assert held.session_token == "newer"
    assert not daemon.changed()
    daemon.session.scnt = "routine"
    assert daemon.save_if_current()
    assert SessionStore(tmp_path, APPLE_ID).session.scnt == "routine"


def test_nothing_new_is_not_written(tmp_path: Path) -> None:
    store = stored(tmp_path)
    before = store.path.stat().st_ino
    assert store.save_if_current()
    assert store.path.stat().st_ino == before


def test_a_removed_file_costs_no_trust(tmp_path: Path) -> None:
    store = stored(tmp_path)
    store.path.unlink()
    assert store.changed()
    store.reload()
    assert not store.session.is_usable
    assert store.session.trust_token == "secret-trust"


def test_forget(tmp_path: Path) -> None:
    store = stored(tmp_path)
    store.forget()
    assert not store.path.exists()
    assert not store.session.trust_token
    assert not store.changed()


def test_a_fresh_start_keeps_the_trust_and_the_installation() -> None:
    fresh = filled().begin_anew()
    assert (fresh.client_id, fresh.trust_token) == ("auth-1", "secret-trust")
    assert not fresh.scnt and not fresh.session_token and not fresh.cookies.names()
    fresh.cookies.add_missing(filled().cookies)
    assert fresh.cookies.names() == {"T"}


def test_a_sign_in_that_waits_is_kept_beside_what_is_held(tmp_path: Path) -> None:
    store = stored(tmp_path)
    store.session.pending = Session(session_token="half-way", code_phone=2)
    store.save()
    again = SessionStore(tmp_path, APPLE_ID).session
    assert again.session_token == "secret-session"
    assert again.pending is not None and again.pending.session_token == "half-way"
    assert again.copy().pending is not again.pending
    assert again.begin_anew().pending is None
    assert "half-way" not in repr(again)


def test_a_renewal_does_not_undo_what_another_process_wrote(tmp_path: Path) -> None:
    daemon, command = stored(tmp_path), SessionStore(tmp_path, APPLE_ID)
    command.session.session_token = "newer"
    command.save()
    assert not daemon.replace_if_current(Session(session_token="renewed"))
    assert daemon.session.session_token == "newer"
    assert daemon.replace_if_current(Session(session_token="renewed"))
    assert SessionStore(tmp_path, APPLE_ID).session.session_token == "renewed"


async def test_one_renewal_at_a_time_among_processes(tmp_path: Path) -> None:
    one, other = SessionStore(tmp_path, APPLE_ID), SessionStore(tmp_path, APPLE_ID)
    order: list[str] = []

    async def renew(store: SessionStore, name: str) -> None:
        async with store.renewing():
            order.append(f"{name} begins")
            await trio.sleep(0.02)
            order.append(f"{name} ends")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(renew, one, "a")
        nursery.start_soon(renew, other, "b")
    assert [step.split()[1] for step in order] == ["begins", "ends"] * 2


def test_file_names() -> None:
    assert stem("Alice@Example.com") == "alice@example.com"
    assert stem("a/b@x") != stem("a_b@x")
    assert "/" not in stem("../../etc/passwd")
    assert not stem(".hidden@x").startswith(".")
    assert stem("ö@x.com") != stem("ä@x.com")
    assert len(stem("x" * 1000).encode()) < 220


def test_nothing_is_logged_when_all_is_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stored(tmp_path)
    SessionStore(tmp_path, APPLE_ID)
    assert not caplog.records
