"""Unmounting from outside, as ``icloudfs unmount`` does."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio

from icloudfs.errors import MountPointError
from icloudfs.mount import fusermount, limits, liveness, mount_table
from icloudfs.mount.liveness import Life
from icloudfs.mountinfo import Mounted
from icloudfs.state import lock

DAEMON_TIMEOUT = 20.0
"""Seconds to wait for the daemon's end after the folder is free and it was told to end; then it is killed."""

STUCK_TIMEOUT = 3.0
"""The same for one that does not answer."""

_BY_ITSELF = 2.0
"""Seconds in which it ends without a word. It does not while a container or a sandbox that was begun meanwhile
has a copy of the mount: then it is told to."""

_AFTER_KILL = 5.0
"""Seconds in which a process that is killed is gone, unless it waits for a disk."""

_BRIEFLY = 0.5
"""Seconds in which a folder that is in use may become free: while changes are replayed (live.py) there is a
process of ours at work in it, for less than a millisecond each time."""

_RETRY = 0.02


async def unmount(path: Path, state: Callable[[], Path], *, lazy: bool = False) -> None:
    """Unmount the icloudfs folder ``path`` and wait until its daemon has ended.

    A daemon that does not answer loses the folder at once, and is killed if it does not end. One whose folder
    is gone already (unmounted lazily, or mounted in another namespace only) is ended. Where it cannot tell
    who it is, the locks in the directory that ``state`` tells do.

    Lazy: take it away at once, even if programs have files open in it; the daemon serves those until they are
    closed, and is not waited for. Raises MountPointError if it is in
    use, not an icloudfs folder, or somebody else's.
    """
    place = await trio.to_thread.run_sync(mount_table.absolute, path)
    mounted = mount_table.mounted_at(place)
    if mounted is None or not mounted.ours:
        daemon = _holder(place, state)
        if daemon is None:
            raise _not_there(place, mounted)
        await _wait_for_end(daemon, by_itself=0, told=DAEMON_TIMEOUT)
        return
    look = await liveness.look(place)
    is_stuck = look.life is Life.SILENT
    daemon = None
    if is_stuck:
        daemon = _holder(place, state)
        # A thread of one that was killed may itself wait for an answer, in a call that nothing interrupts: it
        # keeps the mount from being taken away, and is kept by it.
        limits.abort(mounted)
    elif not lazy:
        daemon = None if look.pid is None else _opened(look.pid)
    complaint = await _unmount_if_free(place, lazy or is_stuck)
    if complaint is not None:
        raise _refused(place, complaint)
    if daemon is not None:
        await _wait_for_end(
            daemon, by_itself=_BY_ITSELF, told=STUCK_TIMEOUT if is_stuck else DAEMON_TIMEOUT
        )


def _not_there(place: Path, mounted: Mounted | None) -> MountPointError:
    other = f" ({mounted.type} is)" if mounted else ""
    return MountPointError(
        f"No iCloud library is mounted on {place}{other}.",
        hint="'findmnt -t fuse.icloudfs' lists those that are.",
    )


def _holder(place: Path, state: Callable[[], Path]) -> int | None:
    """A descriptor of the process that holds an account's lock to serve ``place``."""
    for daemon in lock.daemons(state()):
        if mount_table.absolute(daemon.folder) == place:
            return _opened(daemon.pid)
    return None


def _opened(pid: int) -> int | None:
    """A descriptor of a process; None if it is gone, or cannot be seen from here."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


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
            hint=f"Close what uses it ('fuser -vm {shlex.quote(str(place))}' shows it), or add --lazy.",
        )
    if "not permitted" in complaint or "not found in" in complaint:
        return MountPointError(
            f"{place} was mounted by another user.", hint="Only that user and root may unmount it."
        )
    if fusermount.program() is None:
        return fusermount.meaning(complaint)
    return MountPointError(f"{place} could not be unmounted: {complaint}.")


async def _wait_for_end(process: int, *, by_itself: float, told: float) -> None:
    """Wait for the end of the process behind a descriptor, and close that: ``by_itself`` seconds, then ``told``
    seconds after it was told to, then for its death. Raises MountPointError if there is no end to it."""
    try:
        for signum, seconds in (
            (None, by_itself),
            (signal.SIGTERM, told),
            (signal.SIGKILL, _AFTER_KILL),
        ):
            with suppress(ProcessLookupError):
                if signum is not None:
                    signal.pidfd_send_signal(process, signum)
            with trio.move_on_after(seconds):
                await trio.lowlevel.wait_readable(process)
                return
    except PermissionError:
        raise MountPointError(
            "The folder is free, but its daemon goes on: it is another user's.",
            hint="Only that user and root may end it.",
        ) from None
    finally:
        os.close(process)
    raise MountPointError(
        "The folder is free, but its daemon does not end, not even when it is killed.",
        hint="It waits for a disk, and ends when that answers.",
    )
