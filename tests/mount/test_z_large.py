"""A hundred thousand photos: there at once, and small in memory (DESIGN §6)."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import Library
from tests.mount.mounted import Mount, names

PHOTOS = 100_000
# Seconds from the start of the process; 0.2 to 0.45 measured, 1.3 on a busy machine.
FIRST_LIST = 3.0
MEMORY = 100.0  # MB; 45 measured


def test_a_large_library(library: Library, place: Path) -> None:
    for month in range(100):
        library.many(library.directory(ROOT_INO, f"month {month}"), PHOTOS // 100)
    library.close()
    start = time.monotonic()
    with Mount(library.path, place / "mnt") as mount:
        assert len(names(mount.path)) == 100
        assert time.monotonic() - start < FIRST_LIST
        found = subprocess.run(
            ["find", mount.path, "-type", "f", "-printf", "%s %T@ %p\n"],
            capture_output=True,
            check=True,
        )
        assert found.stdout.count(b"\n") == PHOTOS
        assert _peak_memory(mount.process.pid) < MEMORY
        assert mount.stop() == 0


def _peak_memory(process: int) -> float:
    """The most that a process ever had in memory, MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")
