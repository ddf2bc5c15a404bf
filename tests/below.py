"""A file system below another one, which can be made to stand still."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from icloudfs.mount.mount_table import mounted_at
from tests.scratch import wait_until


class Below:
    """``bindfs``: ``path`` shows ``source``, by a process that answers or does not."""

    def __init__(self, source: Path, path: Path, options: str) -> None:
        self.path = path
        bindfs = shutil.which("bindfs")
        assert bindfs is not None, "bindfs is not installed: scripts/setup --dev"
        # No memory of what it answered: each look reaches the process.
        command = [
            bindfs,
            "-f",
            "--no-allow-other",
            "-o",
            f"attr_timeout=0,entry_timeout=0{options}",
        ]
        self._process = subprocess.Popen([*command, str(source), str(path)])
        wait_until(lambda: mounted_at(path) is not None)

    def freeze(self) -> None:
        """Answer nothing from now on."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Whoever still waits gets an error."""
        self._process.kill()
        self._process.wait()
        subprocess.run(["fusermount3", "-uz", os.fspath(self.path)], check=True)


@contextmanager
def below(source: Path, path: Path, options: str = "") -> Iterator[Below]:
    source.mkdir(exist_ok=True)
    path.mkdir(exist_ok=True)
    made = Below(source, path, options)
    try:
        yield made
    finally:
        made.end()
