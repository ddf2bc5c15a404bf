"""The kernel's control filesystem, mounted as systemd has it: not every container does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from icloudfs.mount.limits import CONNECTIONS


@contextmanager
def control_filesystem() -> Iterator[None]:
    """It is there in this context, and taken away afterwards if it was not there before. Only root can."""
    missing = not os.path.ismount(CONNECTIONS)
    if missing:
        subprocess.run(["mount", "-t", "fusectl", "none", str(CONNECTIONS)], check=True)
    try:
        yield
    finally:
        if missing:
            subprocess.run(["umount", "--lazy", str(CONNECTIONS)], check=True)
