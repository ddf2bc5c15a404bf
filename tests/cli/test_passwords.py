"""Where the password comes from, and in which order."""

# ruff: noqa: ASYNC240 (what a test makes on disk may block it)

from __future__ import annotations

import os
import threading
from pathlib import Path

import keyring
import keyring.errors
import pytest

from icloudfs import passwords
from icloudfs.config import Settings
from icloudfs.errors import ConfigError
from icloudfs.passwords import forget_in_keyring, keep_in_keyring, kept_password

USER = "alice@example.com"


class Keyring:
    """A keyring in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, name: str) -> str | None:
        return self.kept.get((service, name))

    def set_password(self, service: str, name: str, password: str) -> None:
        self.kept[service, name] = password

    def delete_password(self, service: str, name: str) -> None:
        if self.kept.pop((service, name), None) is None:
            raise keyring.errors.PasswordDeleteError


@pytest.fixture(autouse=True)
def ring(monkeypatch: pytest.MonkeyPatch) -> Keyring:
    ring = Keyring()
    for name in ("get_password", "set_password", "delete_password"):
        monkeypatch.setattr(keyring, name, getattr(ring, name))
    monkeypatch.delenv(passwords.VARIABLE, raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return ring


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("from the file\nand a second line\n")
    path.chmod(0o600)
    return path


async def test_each_place_in_its_turn(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(username=USER)
    assert await kept_password(settings) is None

    keep_in_keyring(USER, "from the keyring")
    assert await kept_password(settings) == "from the keyring"

    monkeypatch.setenv(passwords.VARIABLE, "from the environment")
    assert await kept_password(settings) == "from the environment"

    (tmp_path / passwords.CREDENTIAL).write_text("from systemd\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert await kept_password(settings) == "from systemd"

    assert await kept_password(Settings(username=USER, password_file=file)) == "from the file"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
async def test_a_file_that_others_can_read_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)

    with pytest.raises(ConfigError, match="can be read by others") as refused:
        await kept_password(Settings(username=USER, password_file=file))
    assert refused.value.hint == f"chmod 600 {file}"


async def test_a_pipe_is_nobody_else_s(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o644)
    writer = threading.Thread(target=pipe.write_text, args=("from a pipe\n",))
    writer.start()

    assert await kept_password(Settings(username=USER, password_file=pipe)) == "from a pipe"
    writer.join()


@pytest.mark.parametrize("content", [b"", b"\nsecret\n", b"\xff\xfesecret"])
async def test_what_is_no_password_is_never_quoted(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    with pytest.raises(ConfigError) as refused:
        await kept_password(Settings(username=USER, password_file=file))
    assert "secret" not in str(refused.value)


def test_forgetting_what_was_never_kept(ring: Keyring) -> None:
    forget_in_keyring(USER)
    keep_in_keyring(USER, "x")
    forget_in_keyring(USER)
    assert ring.kept == {}


def test_a_machine_without_a_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: str) -> None:
        raise keyring.errors.NoKeyringError("none here")

    monkeypatch.setattr(keyring, "set_password", fail)
    with pytest.raises(ConfigError, match="cannot be kept"):
        keep_in_keyring(USER, "x")


_UNUSUAL = "correct\fhorse\u0085battery\u2028staple\x1c \u3000"


@pytest.mark.parametrize(
    "around",
    [
        ("", ""),
        ("", "\n"),
        ("", "\r\nsecond line"),
        ("\ufeff", "\r\n"),
        ("", "\r"),
    ],
)
async def test_a_password_is_a_whole_line_whatever_is_in_it(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, around: tuple[str, str]
) -> None:
    """And an editor of another system may have written it, or the file of variables."""
    before, after = around
    file.write_bytes(f"{before}{_UNUSUAL}{after}".encode())
    settings = Settings(username=USER, password_file=file)
    assert await kept_password(settings) == _UNUSUAL

    (tmp_path / passwords.CREDENTIAL).write_bytes(file.read_bytes())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert await kept_password(Settings(username=USER)) == _UNUSUAL
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")

    monkeypatch.setenv(passwords.VARIABLE, before + _UNUSUAL + after.partition("second")[0])
    assert await kept_password(Settings(username=USER)) == _UNUSUAL


async def test_what_is_no_text_is_never_quoted_wherever_it_is(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(passwords.VARIABLE, "secret\udcff")
    with pytest.raises(
        ConfigError, match="The password in ICLOUDFS_PASSWORD is no text"
    ) as refused:
        await kept_password(Settings(username=USER))
    assert "secret" not in str(refused.value)

    (tmp_path / passwords.CREDENTIAL).write_bytes(b"secret\xff\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ConfigError, match="is no text") as refused:
        await kept_password(Settings(username=USER))
    assert "secret" not in str(refused.value)
