"""A disk that fails on demand, below one mount: its daemon is started with ``tests/failing_disk.c`` loaded."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

_SOURCE = Path(__file__).parents[1] / "failing_disk.c"

FROZEN = -1
"""In the place of an errno: the calls wait until the disk is well again."""


class FailingDisk:
    """``folder`` is what lies on it. What its daemon is told lies in the file ``orders``."""

    def __init__(self, folder: Path, orders: Path) -> None:
        self._folder = folder
        self._orders = orders
        self.is_well()

    @property
    def environment(self) -> dict[str, str]:
        """Of the daemon."""
        return {"LD_PRELOAD": str(_built()), "FAILING_DISK": str(self._orders)}

    def fails(self, number: int, calls: str, below: Path | None = None) -> None:
        """From now on these ``calls`` end with the errno ``number``, or wait if that is FROZEN.

        ``below``: only on files in this folder.
        """
        self._orders.write_text(f"{number} {below or self._folder} {calls}")

    def is_well(self) -> None:
        """It does what it is asked again."""
        self._orders.write_text("")


@functools.cache
def _built() -> Path:
    """For as long as this process runs."""
    made = Path(tempfile.mkdtemp(prefix="icloudfs-failing-disk-"), "failing-disk.so")
    atexit.register(shutil.rmtree, made.parent)
    made.parent.chmod(0o755)
    command = ("gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", made, _SOURCE, "-ldl")
    subprocess.run([str(word) for word in command], check=True)
    return made
