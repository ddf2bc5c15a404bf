"""Who holds an account's library open at the moment, and what that process tells of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import trio

from icloudfs.config import Settings
from icloudfs.control import client
from icloudfs.control.socket import socket_path
from icloudfs.mount import mount_table
from icloudfs.state import lock


class Running(NamedTuple):
    """A process that has the account's library open for writing."""

    holder: str
    """What it does, and its number, in words."""
    folder: Path | None
    """Absolute: where it mounted the library, or is about to; None if it does something else."""
    now: dict[str, Any] | None
    """What it is at, as ``Library`` tells it; None if it does not answer."""

    @property
    def is_seen(self) -> bool:
        """Whether the library is mounted on the folder, as seen from here."""
        if self.folder is None:
            return False
        mounted = mount_table.mounted_at(mount_table.absolute(self.folder))
        return mounted is not None and mounted.ours

    @property
    def folder_gone(self) -> bool:
        """It was mounted, and is no more: unmounted lazily, or mounted in another namespace."""
        return self.now is not None and self.now["mounted"] and not self.is_seen


def cache_limit(settings: Settings, now: dict[str, Any] | None) -> int:
    """Bytes, 0 for none: what the process that is at ``now`` was told, else what ours would be."""
    return int((now or {}).get("cache_limit", settings.cache_limit))


def running(settings: Settings) -> Running | None:
    """The process that runs for the account, if there is one. Waits two seconds for it at most."""
    holder = lock.holder(settings.cookie_directory, settings.username)
    if holder is None:
        return None
    daemon = lock.daemon(holder)
    now = trio.run(client.look, socket_path(settings.cookie_directory, settings.username))
    return Running(holder, None if daemon is None else daemon.folder, now)
