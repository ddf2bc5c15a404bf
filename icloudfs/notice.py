"""A word on the person's screen, where there is one: that they have to sign in again.

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

    def session_is_good(self) -> None:
        """iCloud was asked, and answered: the next expiry is another one."""
        self._said = False

    async def session_ran_out(self) -> None:
        """Tell whoever sits there, unless they have been told."""
        program = shutil.which(PROGRAM)
        if self._said or program is None or not os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
            return
        self._said = True
        text = f"icloudfs has to sign in again as {self._account}: run 'icloudfs login'."
        command = [program, "--app-name=icloudfs", "--icon=folder-pictures", "iCloud Photos", text]
        with trio.move_on_after(_PATIENCE):
            try:
                done = await trio.run_process(
                    command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                log.info("%s ended with %d", PROGRAM, done.returncode)
            except OSError as error:
                log.info("%s could not be started: %s", PROGRAM, error)
