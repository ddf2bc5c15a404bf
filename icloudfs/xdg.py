"""Where things of a user belong: the directories of the XDG standard.

https://specifications.freedesktop.org/basedir-spec/
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from icloudfs.errors import ConfigError


def home(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The user's: as HOME says, or the system's list of users; None for who has none, as in many containers."""
    chosen = environment.get("HOME", "")
    with suppress(KeyError):
        chosen = chosen or pwd.getpwuid(os.geteuid()).pw_dir
    return Path(chosen) if chosen.startswith("/") else None


def directory(variable: str, usual: str, environment: Mapping[str, str] = os.environ) -> Path:
    """What ``variable`` names, else ``usual`` below the home. Relative paths are to be ignored.

    Raises ConfigError for who has neither.
    """
    chosen = environment.get(variable, "")
    if chosen.startswith("/"):
        return Path(chosen)
    own = home(environment)
    if own is None:
        raise ConfigError(
            f"There is no home directory, and {variable} does not say what to use instead.",
            hint=f"Set HOME or {variable}.",
        )
    return own / usual
