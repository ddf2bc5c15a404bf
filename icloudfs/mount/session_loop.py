"""pyfuse3's session loop, kept from freezing.

Stock pyfuse3 3.5 waits until /dev/fuse is readable and then reads it *blocking*, holding the GIL. If the
request is withdrawn in between, because its process was killed while it queued, that read lasts until the
next request, however long that takes: every task and every thread of the daemon stands still. Killing a
30-thread reader did that in one of four kills (facts/fuse.md §1.4).

The cure has three parts:

* the descriptor does not block, so a withdrawn request is EAGAIN;
* a worker that meets EAGAIN goes on;
* before it waits, a worker polls: under load the next request is there already, and a third of the time
  of a look-up was spent on going to sleep and waking up.

pyfuse3 looks up ``_wait_fuse_readable`` and ``_session_loop`` among its module's names, so both can be
replaced. They are private, hence the narrow version pin and the check at start-up.

What EAGAIN costs: the loop raises it between growing the pool and processing the request. A worker that has
been started by then is a worker that counts; the one that raised is not taken off the count
(``task_count``) and is not ended either, since its replacement re-enters the loop in the same task: so the
count stays right. The receive buffer (1 MiB, of which a page or two were ever touched) stays allocated: 5
of them in 150 kills.
"""

from __future__ import annotations

import os
import select
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pyfuse3
import trio

from icloudfs.errors import IcloudfsError

MIN_TASKS = 1
MAX_TASKS = 512
"""Requests under way at once. With pyfuse3's 99, a hundred waiting reads stop every ``stat``
(facts/fuse.md §0.3)."""

BURST = 32
"""Requests answered in a row before other tasks get their turn."""

KNOWN_VERSION = "3.5."
_WAIT = "_wait_fuse_readable"
_LOOP = "_session_loop"
_DEVICE = Path("/dev/fuse")

SessionLoop = Callable[[trio.Nursery, int, int], Awaitable[None]]


async def serve(min_tasks: int = MIN_TASKS, max_tasks: int = MAX_TASKS) -> None:
    """Answer requests of the mounted session until it is unmounted.

    Raises IcloudfsError if the installed pyfuse3 is not one that this module knows.
    """
    check_version()
    replace_loop(device_descriptor())
    await pyfuse3.main(min_tasks, max_tasks)


def check_version() -> None:
    """Raise IcloudfsError unless the private names are where they are expected."""
    names = (_WAIT, _LOOP)
    if not pyfuse3.__version__.startswith(KNOWN_VERSION) or not all(
        callable(getattr(pyfuse3, name, None)) for name in names
    ):
        raise IcloudfsError(
            f"pyfuse3 {pyfuse3.__version__} is installed; this icloudfs works with {KNOWN_VERSION}x only.",
            hint="Install the version it was released with: pip install 'pyfuse3>=3.5,<3.6'.",
        )


def device_descriptor() -> int:
    """The descriptor of the session's /dev/fuse, which pyfuse3 keeps to itself.

    The newest one, should the process have been started with another (``mount.fuse3`` passes one on).
    """
    open_devices = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if entry.readlink() == _DEVICE:
                open_devices.append(int(entry.name))
        except FileNotFoundError:
            continue  # the descriptor of this very listing
    if not open_devices:
        raise IcloudfsError("The FUSE session has no open /dev/fuse.")
    return max(open_devices)


_stock: dict[str, Any] = {}


def replace_loop(descriptor: int) -> None:
    """Put the cure in place for the session on ``descriptor``."""
    os.set_blocking(descriptor, False)
    for name in (_WAIT, _LOOP):
        _stock.setdefault(name, getattr(pyfuse3, name))
    setattr(pyfuse3, _WAIT, _eager_wait(descriptor, _stock[_WAIT]))
    setattr(pyfuse3, _LOOP, _lasting_loop(_stock[_LOOP]))


def _eager_wait(
    descriptor: int, wait: Callable[[], Awaitable[bool]]
) -> Callable[[], Awaitable[bool]]:
    """A wait that looks before it sleeps. True: readable; False: the session has ended."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    poll = poller.poll
    in_a_row = 0

    async def eager_wait() -> bool:
        nonlocal in_a_row
        while True:
            in_a_row += 1
            if in_a_row >= BURST:
                in_a_row = 0
                await trio.lowlevel.checkpoint()
            if poll(0):
                return True
            in_a_row = 0
            if not await wait():
                return False
            # Several workers wake for one request: those that find it gone wait again.
            if poll(0):
                return True

    return eager_wait


def _lasting_loop(loop: SessionLoop) -> SessionLoop:
    """A worker that outlives withdrawn requests."""

    async def lasting_loop(nursery: trio.Nursery, min_tasks: int, max_tasks: int) -> None:
        while True:
            try:
                await loop(nursery, min_tasks, max_tasks)
            except BlockingIOError:
                continue
            return

    return lasting_loop
