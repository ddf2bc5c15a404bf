"""Options that commands share, and the settings that come of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from icloudfs import config, logs
from icloudfs.config import Settings
from icloudfs.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)

_ACCOUNT = (
    click.option("-u", "--username", metavar="APPLE_ID", help="The account."),
    click.option(
        "--region", type=click.Choice(["global", "china"]), help="Where the account lives."
    ),
    click.option("--endpoint", metavar="URL", help="A simulator instead of Apple."),
    click.option("--cookie-directory", type=_PATH, help="Session, state database and lock."),
    click.option("--cache-dir", type=_PATH, help="Downloaded content."),
    click.option("--password-file", type=_PATH, help="File with the password, mode 0600."),
    click.option("--config", "config_file", type=_PATH, help="Another config file."),
    click.option("--log-file", type=_PATH, help="Log there instead of to standard error."),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        help="How much to log.",
    ),
)


def account_options(*, log_level: str) -> Callable[[F], F]:
    """Give a command the options above; it gets them as one ``settings`` argument.

    Its other options that are named like settings count as settings, too. ``log_level`` is the
    command's own default.
    """

    def decorate(function: F) -> F:
        @wraps(function)
        def with_settings(config_file: Path | None, **flags: Any) -> Any:
            names = Settings.__struct_fields__
            chosen = {key: flags.pop(key) for key in list(flags) if key in names}
            settings = config.load(_given(chosen), config_file, defaults={"log_level": log_level})
            logs.configure(settings.log_level, settings.log_file)
            return function(settings=settings, **flags)

        for option in reversed(_ACCOUNT):
            with_settings = option(with_settings)
        return with_settings  # type: ignore[return-value]

    return decorate


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flags.items() if value not in (None, ())}


def with_account(settings: Settings) -> Settings:
    """The settings with an account: the one that was named, or the only one there is.

    Raises ConfigError if it is not clear which.
    """
    if settings.username:
        return settings
    known = sorted(path.stem for path in settings.cookie_directory.glob("*.session"))
    if len(known) == 1:
        return config.replace(settings, username=known[0])
    name_it = "with -u APPLE_ID, in ICLOUDFS_USERNAME or as username in the config file."
    if known:
        raise ConfigError(
            f"Which account? Known here: {', '.join(known)}.", hint=f"Name it {name_it}"
        )
    raise ConfigError(
        "No account is named, and none is signed in.",
        hint=f"Sign in first: 'icloudfs login -u APPLE_ID'. Or name the account {name_it}",
    )
