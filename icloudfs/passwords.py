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

from icloudfs.config import Settings
from icloudfs.errors import ConfigError

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
    if password := os.environ.get(VARIABLE):
        return password
    return await trio.to_thread.run_sync(_from_keyring, settings.username)


def _from_file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISFIFO(mode) and mode & 0o077:
            raise ConfigError(
                f"The password file {path} can be read by others.", hint=f"chmod 600 {path}"
            )
        password = _first_line(path.read_text())
    except OSError as error:
        raise ConfigError(f"The password file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        # Its message would quote the content.
        raise ConfigError(f"The password file {path} is no text.") from None
    if not password:
        raise ConfigError(f"The first line of the password file {path} is empty.")
    return password


def _from_credential(path: Path) -> str:
    # systemd made it readable for this process alone, in ways that mode bits do not show.
    return _first_line(path.read_text())


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


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
