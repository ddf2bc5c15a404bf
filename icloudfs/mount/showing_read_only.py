"""What ``statvfs`` and the mount table say of a mount: that it is read-only (``ST_RDONLY``, ``ro``).

The kernel says so of a mount in which it lets nobody write, and the changes that are replayed (live.py) are
writes. But the flag is that of one mount of a filesystem: the actor writes through a copy of its own, which has
another (actor.py). Both take CAP_SYS_ADMIN, as root and the service of a server have it. An ordinary user's
mount is made by fusermount3, which knows ``ro`` for the whole filesystem only: no folder would be live. So it
shows ``rw``, and all that would write is refused with EROFS all the same.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from icloudfs.mount import actor

log = logging.getLogger(__name__)


def show_read_only(place: Path) -> bool:
    """Have the mount at ``place`` shown as read-only; whether it could be. Asks nothing of the mount."""
    root = os.fsencode(place)
    try:
        # First whether the actor will find its way around it.
        os.close(actor.writable(root))
        actor.set_flags(actor.HERE, root, 0, set_flags=actor.READ_ONLY)
    except OSError as error:
        log.info("%s is not shown as read-only, though it is: %s", place, error.strerror)
        return False
    return True
