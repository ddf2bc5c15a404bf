"""Which wrong answers a sweep gives to a call: a third of all, another one to each call; or all of them.

``ICLOUDFS_SWEEP=all`` has every call answered in every way, which takes three times as long.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

_A_PART = 1 if os.environ.get("ICLOUDFS_SWEEP") == "all" else 3


def some(ways: Sequence[str], call: str, calls: Sequence[str]) -> list[str]:
    """Those of ``ways`` that ``call``, one of ``calls``, is answered in."""
    return list(ways[calls.index(call) % _A_PART :: _A_PART])
