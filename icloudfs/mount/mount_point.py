"""Whether a folder can be mounted on, and what to do about one that a dead daemon left behind."""

from __future__ import annotations

import logging
import os
import shlex
import stat
from pathlib import Path

import trio

from icloudfs.errors import MountPointError
from icloudfs.mount import fusermount, liveness, mount_table
from icloudfs.mount.liveness import Life

log = logging.getLogger(__name__)


async def prepare(path: Path) -> Path:
    """The folder to mount on, absolute, after checking it; what a dead daemon left there is taken away.

    Raises MountPointError with a hint.
    """
    place = await trio.to_thread.run_sync(mount_table.absolute, path)
    while (mounted := mount_table.mounted_at(place)) is not None and mounted.ours:
        await _take_away_if_dead(place)
    await trio.to_thread.run_sync(_check, place)
    return place


async def _take_away_if_dead(place: Path) -> None:
    """Once. Raises MountPointError for a mount that lives or that cannot be taken away."""
    life = (await liveness.look(place)).life
    unmounts = f"icloudfs unmount {shlex.quote(str(place))}"
    if life is Life.ANSWERS:
        raise MountPointError(
            f"An iCloud library is mounted on {place} already.",
            hint=f"Use it, or unmount it first: {unmounts}",
        )
    if life is Life.SILENT:
        raise MountPointError(
            f"An iCloud library is mounted on {place}, and its daemon does not answer.",
            hint=f"End it: {unmounts}",
        )
    log.warning("%s was left behind by a daemon that ended; unmounting it first", place)
    complaint = await fusermount.unmount(place, lazy=True)
    if complaint is not None:
        raise MountPointError(
            f"{place} was left behind by a daemon that ended, and could not be unmounted: {complaint}.",
            hint=f"Run 'fusermount3 -uz {shlex.quote(str(place))}' as the user who mounted it.",
        )


def _check(place: Path) -> None:
    _check_is_outside(place)
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        raise MountPointError(
            f"There is no folder {place}.", hint=f"Create it: mkdir -p {shlex.quote(str(place))}"
        ) from None
    except OSError as error:
        raise MountPointError(f"{place} cannot be used: {error.strerror}.") from error
    if not stat.S_ISDIR(mode):
        raise MountPointError(f"{place} is not a folder.", hint="Choose an empty folder.")
    _check_is_empty(place)


def _check_is_outside(place: Path) -> None:
    above = mount_table.mounted_above(place)
    if above is not None and above.ours:
        raise MountPointError(
            f"{place} lies inside an icloudfs folder, {above.path}.",
            hint="Choose a folder outside of it.",
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
