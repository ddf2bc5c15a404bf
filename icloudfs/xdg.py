"""Directories of the XDG standard that belong to others as well: for our own there is platformdirs.

https://specifications.freedesktop.org/basedir-spec/
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def directory(variable: str, usual: str, environment: Mapping[str, str] = os.environ) -> Path:
    """What ``variable`` names, else ``usual`` below the home. Relative paths are to be ignored."""
    chosen = environment.get(variable, "")
    home = Path(environment.get("HOME") or Path.home())
    return Path(chosen) if chosen.startswith("/") else home / usual
