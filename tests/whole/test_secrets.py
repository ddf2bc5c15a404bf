"""Whatever is written, at any level of logging: no password, no code, no token, no cookie."""

from __future__ import annotations

import errno
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scratch import ICLOUDFS, wait_until
from tests.whole.library import Library, checksum_of
from tests.whole.terminal import Terminal

_TOO_SHORT = 8
"""Shorter values (a flag, a number) are in everything and are no secrets."""

_NO_SECRETS = {"client_id", "account_country", "dsid", "database", "region"}
"""What of the session file says where, not who."""


class Secrets:
    """Everything that must not be seen, collected as it changes; and everything that was written."""

    def __init__(self, library: Library) -> None:
        account = library.icloud.account
        self.library = library
        self.values = {account.password, "wrong horse battery", account.code, "654321"}
        self.written: dict[str, bytes] = {}

    def note_session(self) -> None:
        (path,) = self.library.state.glob("*.session")
        session: dict[str, Any] = json.loads(path.read_text())
        cookies = session.pop("cookies")
        found = {str(value) for key, value in session.items() if key not in _NO_SECRETS}
        found |= {cookie["value"] for cookie in cookies}
        self.values |= {value for value in found if len(value) >= _TOO_SHORT}

    def run(self, *arguments: str | Path, expect: int = 0) -> None:
        """Run a command with all its debugging output."""
        done = self.library.icloudfs(*arguments, "--log-level", "debug", check=False)
        assert done.returncode == expect, done.stderr
        self.written[f"output of {arguments[0]} {len(self.written)}"] = (
            done.stdout + done.stderr
        ).encode()

    def find(self) -> list[str]:
        """Where a secret can be read."""
        library = self.library
        for path in (*library.state.iterdir(), library.log):
            if path.suffix != ".session":
                self.written[path.name] = path.read_bytes()
        return [
            f"{value[:4]}… in {place}"
            for place, text in self.written.items()
            for value in self.values
            if value.encode() in text
        ]


@pytest.fixture
def secrets(stranger: Library) -> Iterator[Secrets]:
    yield Secrets(stranger)


def test_no_secret_is_written_anywhere(secrets: Secrets, stranger: Library) -> None:
    icloud = stranger.icloud
    _sign_in_with_slips(secrets)
    secrets.note_session()
    secrets.run("sync", "--mirror", "demand")
    secrets.run("mount", stranger.mount_point, "--log-file", stranger.log, "--interval", "1")
    _look_at_processes(secrets)
    photo = stranger.uncached(r"\.(HEIC|JPG)$", at_least=100_000)
    icloud.control.set_fault("content", "flip", checksum=checksum_of(photo))
    with pytest.raises(OSError) as refused:
        photo.read_bytes()
    assert refused.value.errno == errno.EIO

    for what in ("web-token", "session-token", "pcs"):
        icloud.control.expire(what)
        photo = stranger.uncached(r"\.(HEIC|JPG)$", at_least=100_000)
        assert photo.read_bytes() == stranger.truth(photo)
        secrets.note_session()
    icloud.control.set_fault("content", "gone", times=1)
    photo = stranger.uncached(r"\.(HEIC|JPG)$", at_least=100_000)
    assert photo.read_bytes() == stranger.truth(photo)
    secrets.run("status", "--failed")
    stranger.unmount()
    secrets.run("logout")

    # It did sign in anew, and there is something to be found in.
    assert len(icloud.calls(path="/accountLogin")) >= 2
    assert len(secrets.values) >= 12
    assert b"DEBUG" in stranger.log.read_bytes()
    assert secrets.find() == []


def _sign_in_with_slips(secrets: Secrets) -> None:
    library = secrets.library
    environment = library.scratch.environment | library.environment
    wrong = environment | {"ICLOUDFS_PASSWORD": "wrong horse battery"}
    command: list[str | Path] = [ICLOUDFS, "login", "--log-level", "debug"]
    with Terminal(command, wrong) as person:
        assert person.end() == 3
    secrets.written["terminal, wrong password"] = person.shown.encode()
    with Terminal(command, environment) as person:
        for code in ("654321", library.icloud.account.code):
            person.expect("Code shown")
            person.enter(code)
        person.expect("Signed in")
        assert person.end() == 0
    # A terminal shows what is typed; icloudfs itself must not say it again.
    shown = person.shown
    for code in ("654321", library.icloud.account.code):
        assert shown.count(code) == 1
        shown = shown.replace(code, "")
    secrets.written["terminal"] = shown.encode()


def _look_at_processes(secrets: Secrets) -> None:
    for pid in secrets.library.scratch.processes():
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        secrets.written[f"command line of {pid}"] = line


def test_no_file_of_ours_is_for_others_whatever_the_umask(library: Library) -> None:
    """With a umask of 0 a program makes for everybody what it does not make for its owner alone."""
    environment = {"ICLOUDFS_THUMBNAILS": "true"}
    library.icloudfs("mount", library.mount_point, environment=environment, umask=0)
    photo = next(library.files("Library"))
    photo.read_bytes()
    seeds = library.cache / library.icloud.account.apple_id / "seeds.db"
    wait_until(seeds.exists)

    found = [path for top in (library.state, library.cache) for path in top.rglob("*")]
    modes = {path: path.stat().st_mode for path in found if path.exists()}
    assert seeds in modes and seeds.with_name("in-use") in modes
    assert any(path.suffix == ".log" for path in modes)
    open_to_others = [
        path
        for path, mode in modes.items()
        if stat.S_ISREG(mode) and mode & 0o077 and path.name != "CACHEDIR.TAG"
    ]
    assert open_to_others == []
