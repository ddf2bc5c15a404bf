"""A mount's life: from an empty folder to an empty folder."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pyfuse3
import trio

from icloudfs.errors import MountPointError
from icloudfs.mount import fusermount, limits, mount_point, mount_table, session_loop
from icloudfs.mount.operations import Operations
from icloudfs.mount.service import Service
from icloudfs.mount.showing_read_only import show_read_only
from icloudfs.mountinfo import Mounted

log = logging.getLogger(__name__)

GRACE = 2.0
"""Seconds that programs get to close their files after SIGINT or SIGTERM, before the mount goes anyway.
A user's session that ends waits for it, so it is short."""

_RETRY = 0.1
"""Seconds between two tries to unmount a folder that is in use."""

_SWITCH_INTERVAL = 0.0005
"""Seconds a thread may keep the interpreter. With Python's 5 ms, parsing JSON in a thread makes a look-up
take 6.6 ms instead of 33 µs (facts/fuse.md §0.10)."""


async def serve(
    path: Path, operations: Operations, *, ready: Callable[[], None], service: Service | None = None
) -> None:
    """Mount on ``path``, call ``ready``, and serve until unmounted, by whomever, or told to stop.

    SIGINT, SIGTERM and SIGHUP (its terminal is closed) unmount; a second one does it at once.
    ``service`` is told that the end begins. Returning normally means a clean end. Any other end leaves the
    folder dead, and the next mount takes that away: one that were empty would be taken for what there is, and a
    backup that follows it would delete everything. Raises MountPointError if it could not be mounted
    or the kernel was made to give it up, IcloudfsError if this pyfuse3 is not known.
    """
    session_loop.check_version()
    service = service or Service({})
    with trio.open_signal_receiver(*_ending_signals()) as signals:
        place = await mount_point.prepare(path)
        sys.setswitchinterval(_SWITCH_INTERVAL)
        _mount(place, operations)
        end = _End()
        try:
            operations.stage.mounted = mount_table.mounted_at(place)
            operations.stage.shown_read_only = show_read_only(place)
            operations.direct_until_whole = not limits.raise_background_limit(place)
            ready()
            end.is_wanted = False
            await _serve_until_told(operations.stage.mounted, signals, service, end)
        finally:
            service.stopping()
            is_dead = _close(place, operations.stage.mounted, end)
    if is_dead:
        raise MountPointError(f"The kernel was made to give up the mount on {place}.")


class _End:
    """Whether somebody wants the mount to go: until it is ready, and when told to."""

    def __init__(self) -> None:
        self.is_wanted = True


def _close(place: Path, mounted: Mounted | None, end: _End) -> bool:
    """End the session; unmount, lazily, what is mounted and not wanted any more. True: it stays there, dead."""
    # What somebody has put there meanwhile is not ours to take away.
    is_there = mounted is None or mount_table.mounted_at(place) == mounted
    with limits.waiting_ends(mounted):
        pyfuse3.close(unmount=end.is_wanted and is_there)
    if is_there and not end.is_wanted:
        log.error("%s is dead now, until it is mounted again: its end was not asked for", place)
        return True
    log.info("unmounted %s", place, extra={"event": "unmounted"})
    return False


def _ending_signals() -> list[signal.Signals]:
    """All three, unless it was started with ``nohup``."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]


def _mount(place: Path, operations: Operations) -> None:
    if not fusermount.DEVICE.exists():
        raise fusermount.meaning("device not found")
    with fusermount.complaints() as written:
        try:
            pyfuse3.init(operations, str(place), operations.settings.options())
        except RuntimeError as error:
            written.seek(0)
            complaint = written.read().decode("utf-8", "replace")
            raise fusermount.meaning(complaint) from error
    log.info("mounted %s on %s", operations.settings.source, place, extra={"event": "mounted"})


async def _serve_until_told(
    mounted: Mounted | None, signals: AsyncIterator[int], service: Service, end: _End
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_unmount_when_told, mounted, signals, service, end, nursery.cancel_scope)
        await session_loop.serve()
        nursery.cancel_scope.cancel()


async def _unmount_when_told(
    mounted: Mounted | None,
    signals: AsyncIterator[int],
    service: Service,
    end: _End,
    session: trio.CancelScope,
) -> None:
    told = await anext(signals)
    end.is_wanted = True
    log.info("%s: unmounting", signal.Signals(told).name)
    service.stopping()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_told_again, signals, session)
        if mounted is not None:
            await _unmount_in_peace(mounted)
        session.cancel()


async def _cancel_when_told_again(signals: AsyncIterator[int], session: trio.CancelScope) -> None:
    await anext(signals)
    session.cancel()


async def _unmount_in_peace(mounted: Mounted) -> None:
    """Unmount as soon as nobody uses it, while it is still served; give up after ``GRACE``."""
    place = mounted.path
    complaint: str | None = None
    deadline = trio.current_time() + GRACE
    while trio.current_time() < deadline:
        if await trio.to_thread.run_sync(mount_table.mounted_at, place) != mounted:
            return  # somebody has, and the session lasts because a container or a reader keeps the mount
        complaint = await fusermount.unmount(place)
        if complaint is None:
            return
        await trio.sleep(_RETRY)
    log.warning("%s is still in use, unmounting it anyway (%s)", place, complaint)
