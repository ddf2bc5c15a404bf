"""Where the password comes from: a file, a credential, the environment, the keyring; else a person.

It never appears in an argument list, a log or a message.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import keyring
import keyring.errors
import trio

from icloudfs.config import Settings, one_line
from icloudfs.errors import ConfigError
from icloudfs.pathtext import is_text

VARIABLE = "ICLOUDFS_PASSWORD"
CREDENTIAL = "icloud-password"
"""The name under which systemd's LoadCredential= passes it."""
_SERVICE = "icloudfs"


async def kept_password(settings: Settings) -> str | None:
    """The password, if it is kept anywhere.

    Raises ConfigError for a password file that cannot be read or that others can read.
    """
    if settings.password_file is not None:
        return _from_file(settings.password_file)
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory and (Path(directory) / CREDENTIAL).exists():
        return _from_credential(Path(directory) / CREDENTIAL)
    if password := one_line(os.environ.get(VARIABLE, "")):
        return as_text(password, f"The password in {VARIABLE}")
    return await trio.to_thread.run_sync(_from_keyring, settings.username)


def _from_file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISFIFO(mode) and mode & 0o077:
            raise ConfigError(
                f"The password file {path} can be read by others.", hint=f"chmod 600 {path}"
            )
        password = _first_line(path)
    except OSError as error:
        raise ConfigError(f"The password file {path} cannot be read: {error.strerror}.") from error
    if not password:
        raise ConfigError(f"The first line of the password file {path} is empty.")
    return password


def _from_credential(path: Path) -> str:
    # systemd made it readable for this process alone, in ways that mode bits do not show.
    try:
        return _first_line(path)
    except OSError as error:
        raise ConfigError(f"The credential {path} cannot be read: {error.strerror}.") from error


def _first_line(path: Path) -> str:
    """Up to a line feed, and nothing else that text may be parted at: a password may hold a form feed or NEL.

    Raises ConfigError, OSError.
    """
    line, *_ = path.read_bytes().split(b"\n", 1)
    return one_line(as_text(line.decode("utf-8", "surrogateescape"), f"The password file {path}"))


def as_text(password: str, what: str) -> str:
    """The password if it is text. Raises ConfigError, which does not quote it."""
    if not is_text(password):
        raise ConfigError(f"{what} is no text.", hint="It must be UTF-8.")
    return password


def _from_keyring(username: str) -> str | None:
    try:
        return keyring.get_password(_SERVICE, username)
    except keyring.errors.KeyringError:
        return None  # a server has none, and nobody to unlock one


def keep_in_keyring(username: str, password: str) -> None:
    """Raises ConfigError if this machine has no keyring."""
    try:
        keyring.set_password(_SERVICE, username, password)
    except keyring.errors.KeyringError as error:
        raise ConfigError(
            f"The password cannot be kept: {error}",
            hint="Use --password-file, or run a keyring such as GNOME Keyring or KWallet.",
        ) from error


def forget_in_keyring(username: str) -> None:
    """Remove it, if it is there."""
    try:
        keyring.delete_password(_SERVICE, username)
    except keyring.errors.KeyringError:
        return
