"""Python imports this at its start where a test has put this folder on its path: the program then lives so
many seconds later as the file says that ``LATER_BY`` names. Waits are by another clock: they stay the same."""

from __future__ import annotations

import os
import time
from pathlib import Path

_FILE = Path(os.environ["LATER_BY"])
_TIME, _TIME_NS = time.time, time.time_ns


def _gone() -> float:
    return float(_FILE.read_text() or 0)


time.time = lambda: _TIME() + _gone()
time.time_ns = lambda: _TIME_NS() + int(1e9 * _gone())
