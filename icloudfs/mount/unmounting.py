"""Unmounting from outside, as ``icloudfs unmount`` does."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from icloudfs.errors import MountPointError
from icloudfs.mount import fusermount, mount_table, special

DAEMON_TIMEOUT = 20.0
"""Seconds to wait for the daemon's end after the folder is free."""

_BY_ITSELF = 2.0
"""Seconds in which it ends without a word. It does not while a container or a sandbox that was begun meanwhile
has a copy of the mount: then it is told to."""

_ANSWER_TIMEOUT = 2.0
"""Seconds a daemon gets to say who it is; one that hangs does not."""


_BRIEFLY = 0.5
"""Seconds in which a folder that is in use may become free: while changes are replayed (live.py) there is a
process of ours at work in it, for less than a millisecond each time."""

_RETRY = 0.02


class _Daemon(msgspec.Struct):
    pid: int


async def unmount(path: Path, *, lazy: bool = False) -> None:
    """Unmount the icloudfs folder ``path`` and wait until its daemon has ended.

    Lazy: take it away at once, even if programs have files open in it; the daemon serves those until they are
    closed, and is not waited for. Raises MountPointError if it is in
    use, not an icloudfs folder, or somebody else's.
    """
    place = await trio.to_thread.run_sync(mount_table.absolute, path)
    mounted = mount_table.mounted_at(place)
    if mounted is None or not mounted.ours:
        other = f" ({mounted.type} is)" if mounted else ""
        raise MountPointError(
            f"No iCloud library is mounted on {place}{other}.",
            hint="'findmnt -t fuse.icloudfs' lists those that are.",
        )
    daemon = None if lazy else await _daemon_of(place)
    complaint = await _unmount_if_free(place, lazy)
    if complaint is not None:
        raise _refused(place, complaint)
    if daemon is not None:
        await _wait_for_end(daemon)


async def _unmount_if_free(place: Path, lazy: bool) -> str | None:
    """None when it is done, else the complaint."""
    deadline = trio.current_time() + _BRIEFLY
    while True:
        complaint = await fusermount.unmount(place, lazy=lazy)
        if complaint is None or "busy" not in complaint or trio.current_time() > deadline:
            return complaint
        await trio.sleep(_RETRY)


def _refused(place: Path, complaint: str) -> MountPointError:
    if "busy" in complaint:
        return MountPointError(
            f"{place} is in use.",
            hint=f"Close what uses it ('fuser -vm {place}' shows it), or add --lazy.",
        )
    if "not permitted" in complaint or "not found in" in complaint:
        return MountPointError(
            f"{place} was mounted by another user.", hint="Only that user and root may unmount it."
        )
    if fusermount.program() is None:
        return fusermount.meaning(complaint)
    return MountPointError(f"{place} could not be unmounted: {complaint}.")


async def _daemon_of(place: Path) -> int | None:
    """A descriptor of the process that serves ``place``; None if it is dead, stuck or not to be seen."""
    told = place / os.fsdecode(special.DAEMON)
    with trio.move_on_after(_ANSWER_TIMEOUT):
        try:
            text = await trio.to_thread.run_sync(told.read_bytes, abandon_on_cancel=True)
            return os.pidfd_open(msgspec.json.decode(text, type=_Daemon).pid)
        except (OSError, msgspec.MsgspecError):
            return None
    return None


async def _wait_for_end(process: int) -> None:
    """Wait for the end of the process behind a descriptor, and close it."""
    try:
        with trio.move_on_after(_BY_ITSELF):
            await trio.lowlevel.wait_readable(process)
            return
        with suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(process, signal.SIGTERM)
        with trio.move_on_after(DAEMON_TIMEOUT):
            await trio.lowlevel.wait_readable(process)
    finally:
        os.close(process)
