"""How much memory something takes at its worst, as the kernel counts it."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS = Path("/proc/self/status")
_PEAK_IS_NOW = "5"
"""For ``clear_refs``: forget the peak of the resident set (proc_pid_clear_refs(5))."""


@contextmanager
def at_most(mebibytes: int) -> Iterator[None]:
    """The block may take so much more than there was before it."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text(_PEAK_IS_NOW)
    before = _resident("VmRSS")
    yield
    grown = (_resident("VmHWM") - before) / 1024
    assert grown <= mebibytes, f"{grown:.0f} MiB"


def _resident(name: str) -> int:
    """KiB."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.M)
    assert found is not None
    return int(found[1])
