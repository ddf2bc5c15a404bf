"""What systemd is told of a service (sd_notify(3)): that it is ready, how it stands, lives, and ends.

One datagram each, to the socket that NOTIFY_SOCKET names. Started by anything else, nothing is told to anybody.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)

_MICROSECONDS = 1_000_000


class Service:
    """Our side of the service manager's socket. Nothing here waits or fails."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of an abstract address.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog = _watchdog(environment)
        """Seconds without a sign of life after which we are killed; None if nobody watches."""

    @property
    def is_watched(self) -> bool:
        """Whether anybody hears what we tell."""
        return bool(self._address)

    def ready(self) -> None:
        """The folder can be used."""
        self._tell("READY=1")

    def begins(self, seconds: float) -> None:
        """It is not ready yet, and systemd is to wait for so long before it takes that for a failure."""
        self._tell(f"EXTEND_TIMEOUT_USEC={int(seconds * _MICROSECONDS)}")

    def lives(self) -> None:
        """A sign of life."""
        self._tell("WATCHDOG=1")

    def stands(self, text: str) -> None:
        """How it stands, in a line that ``systemctl status`` shows."""
        self._tell(f"STATUS={' '.join(text.split())}")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1\nSTATUS=unmounting")

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sending:
                sending.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError as error:
            log.debug("systemd could not be told %s: %s", message, error)


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """As sd_watchdog_enabled(3): meant for us only if the process id is ours or none is named."""
    try:
        microseconds = int(environment.get("WATCHDOG_USEC", ""))
        meant = int(environment.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return microseconds / _MICROSECONDS if microseconds > 0 and meant == os.getpid() else None
