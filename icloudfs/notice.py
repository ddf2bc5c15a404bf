"""A word on the person's screen, where there is one: that they have to sign in again, or soon will have to.

By ``notify-send``, in a session that has a bus. Elsewhere, or without the program, nothing happens: ``status``,
the log and the error of every read say it, too.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess

import trio

log = logging.getLogger(__name__)

PROGRAM = "notify-send"
_PATIENCE = 5.0
"""Seconds for a desktop that does not answer."""


class SignInNotice:
    """Says that the session ran out, once until it is good again."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._said = False
        self._said_of: float = 0

    def session_is_good(self) -> None:
        """iCloud was asked, and answered: the next expiry is another one."""
        self._said = False

    async def session_ran_out(self) -> None:
        """Tell whoever sits there, unless they have been told."""
        if not self._said and _has_screen():
            self._said = True
            await _show(f"icloudfs has to sign in again as {self._account}: run 'icloudfs login'.")

    async def trust_ends(self, until: float, complaint: str) -> None:
        """Tell them what there is to do before ``until``, seconds since the epoch; once."""
        if self._said_of != until and _has_screen():
            self._said_of = until
            await _show(f"{self._account}: {complaint}")


def _has_screen() -> bool:
    return bool(shutil.which(PROGRAM) and os.environ.get("DBUS_SESSION_BUS_ADDRESS"))


async def _show(text: str) -> None:
    command = [PROGRAM, "--app-name=icloudfs", "--icon=folder-pictures", "iCloud Photos", text]
    with trio.move_on_after(_PATIENCE):
        try:
            done = await trio.run_process(
                command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            log.info("%s ended with %d", PROGRAM, done.returncode)
        except OSError as error:
            log.info("%s could not be started: %s", PROGRAM, error)
