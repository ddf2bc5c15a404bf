"""How the C library keeps the memory of threads that come and go."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8
"""``mallopt(3)``: the most heaps that threads share."""
_ARENAS = 2


def share_heaps() -> None:
    """Two heaps for all threads of this process, where the C library can be told so (glibc; others keep one).

    By itself glibc makes up to eight per processor. Worker threads come and go, each takes the next heap, and
    the pages of SQLite and the pieces of downloads that were ever held there stay resident: 16 heaps of 4 MB
    after half an hour of readers and syncs, and more slowly ever after. Call it before the first thread.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
