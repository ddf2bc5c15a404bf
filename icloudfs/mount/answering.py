"""Whether the mount answers, asked as anybody would ask: a program opens a file in it.

A program, not a thread of ours: who waits for himself in the kernel can be neither killed nor ended (actor.py).
What it opens is served from memory (special.py), so that no disk, network or sync is waited for: if that is
not answered nothing is, and only then does systemd start the daemon anew.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import trio

from icloudfs.mount import mount_table, special
from icloudfs.mount.service import Service
from icloudfs.mountinfo import Mounted

log = logging.getLogger(__name__)

_PROGRAM = "cat"

_SHARE = 3
"""Looks in a watchdog's time: one that comes late, on a machine under load, is no reason to be killed."""

_PATIENCE = 10.0
"""Seconds for one answer where no watchdog says how long to wait."""


_BEGINNING = 60.0
"""Seconds without a word after which systemd gives up a mount that is not ready; several words come in them."""


async def attend(
    service: Service, mounted: Callable[[], Mounted | None], listed: trio.Event
) -> None:
    """Tell systemd that the mount is ready once it answers and is ``listed``, and that it lives for as long
    as it answers. Until it is ready, that it is to be waited for: a first listing takes minutes, or a network.

    Ends when it is ready if nobody watches. ``mounted``: ours, as the kernel listed it.
    """
    pause = service.watchdog / _SHARE if service.watchdog else _PATIENCE
    while not await answers(mounted(), pause):
        log.warning("the mount does not answer yet")
    while not listed.is_set():
        service.begins(_BEGINNING)
        with trio.move_on_after(_BEGINNING / _SHARE):
            await listed.wait()
    service.ready()
    while service.watchdog:
        if await answers(mounted(), pause):
            service.lives()
        else:
            log.error("the mount has not answered for %g s", pause)
        await trio.sleep(pause)


async def answers(mounted: Mounted | None, patience: float) -> bool:
    """Whether somebody who opens a file in it gets an answer, whatever it is, within ``patience`` seconds.

    Also true of a mount that cannot be reached by its path any more, because something was mounted over it or
    it was taken away in use: what is there now is not for us to judge.
    """
    if mounted is None or mount_table.mounted_at(mounted.path) != mounted:
        return True
    try:
        process = await trio.lowlevel.open_process(
            [_PROGRAM, str(mounted.path / os.fsdecode(special.DAEMON))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path("/"),
        )
    except OSError as error:
        log.warning("nobody can be sent to look whether the mount answers: %s", error)
        return True
    with trio.move_on_after(patience):
        await process.wait()
        return True
    # It waits for the kernel, which waits for us: it is gone when we are, and not waited for.
    process.kill()
    return False
