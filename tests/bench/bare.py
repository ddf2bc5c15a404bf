"""The least that pyfuse3 can do: what the bare mounts beside a race have in common."""

from __future__ import annotations

import pyfuse3
import trio

TIMEOUT = 86_400.0
"""Seconds that the kernel believes a name or an attribute."""


def serve(operations: pyfuse3.Operations, mount_point: str) -> None:
    """Until it is unmounted."""
    pyfuse3.init(operations, mount_point, {"fsname=bare", "subtype=bare"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()
