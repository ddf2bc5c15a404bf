"""Whether a folder can be mounted on, and what to do about one that a dead daemon left behind."""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path

import trio

from icloudfs.errors import MountPointError
from icloudfs.mount import fusermount, mount_table

log = logging.getLogger(__name__)

_DEAD = {errno.ENOTCONN, errno.ECONNABORTED}
"""What every call on a mount says whose daemon is gone."""


async def prepare(path: Path) -> Path:
    """The folder to mount on, absolute, after checking it; a stale mount there is taken away.

    Raises MountPointError with a hint.
    """
    place = await trio.to_thread.run_sync(mount_table.absolute, path)
    if await _is_stale(place):
        log.warning("%s was left behind by a daemon that ended; unmounting it first", place)
        complaint = await fusermount.unmount(place, lazy=True)
        if complaint is not None or await _is_stale(place):
            raise MountPointError(
                f"{place} was left behind by a daemon that ended, and could not be unmounted"
                + (f": {complaint}." if complaint else "."),
                hint=f"Run 'fusermount3 -uz {place}' as the user who mounted it.",
            )
    await trio.to_thread.run_sync(_check, place)
    return place


async def _is_stale(place: Path) -> bool:
    try:
        await trio.to_thread.run_sync(os.stat, place)
    except OSError as error:
        return error.errno in _DEAD
    return False


def _check(place: Path) -> None:
    _check_is_free(place)
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        raise MountPointError(
            f"There is no folder {place}.", hint=f"Create it: mkdir -p '{place}'."
        ) from None
    except OSError as error:
        raise MountPointError(f"{place} cannot be used: {error.strerror}.") from error
    if not stat.S_ISDIR(mode):
        raise MountPointError(f"{place} is not a folder.", hint="Choose an empty folder.")
    _check_is_empty(place)


def _check_is_free(place: Path) -> None:
    above = mount_table.mounted_above(place)
    if above is not None and above.ours:
        raise MountPointError(
            f"{place} lies inside an icloudfs folder, {above.path}.",
            hint="Choose a folder outside of it.",
        )
    mounted = mount_table.mounted_at(place)
    if mounted is not None and mounted.ours:
        raise MountPointError(
            f"{mounted.source} is mounted on {place} already.",
            hint=f"Use it, or unmount it first: icloudfs unmount '{place}'.",
        )


def _check_is_empty(place: Path) -> None:
    try:
        with os.scandir(place) as entries:
            empty = next(entries, None) is None
    except OSError as error:
        raise MountPointError(f"{place} cannot be read: {error.strerror}.") from error
    if not empty:
        raise MountPointError(
            f"{place} is not empty; what is in it would be hidden.", hint="Choose an empty folder."
        )
