"""A local iCloud in a process of its own, and what a test does to it."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from icloudfs.simulator import Account, ControlClient
from tests.scratch import ICLOUDFS, Scratch

Entry = dict[str, Any]

ASSETS = 130
"""Enough for every oddity of the generated library, two photos of 4 MB, videos of 8 and of 40 MB."""


class LocalICloud:
    """``icloudfs simulator``. Stopped and started again it is the same account on the same port."""

    def __init__(self, scratch: Scratch, *options: str, assets: int = ASSETS) -> None:
        self.account = Account()
        self._scratch = scratch
        self._options = ("--assets", str(assets), *options)
        self._manifest: list[Entry] = []
        self.lines: list[str] = []
        self.start()

    def start(self) -> None:
        """Start it; it listens when this returns."""
        port = () if not self.lines else ("--port", self.url.rsplit(":", 1)[1])
        self.process = self._scratch.start(
            ICLOUDFS, "simulator", *self._options, *port, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        printed = 2 if "--proxy-port" in self._options else 1
        self.lines = [self.process.stdout.readline().strip() for _ in range(printed)]
        assert all(self.lines), "the local iCloud did not start"
        self.control = ControlClient(self.url)

    @property
    def url(self) -> str:
        return self.lines[0]

    @property
    def proxy_url(self) -> str:
        return self.lines[1]

    def stop(self) -> None:
        """Every connection to it is refused from now on."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0
        assert self.process.stdout is not None
        self.process.stdout.close()

    def freeze(self) -> None:
        """Every connection to it is accepted, and nothing ever comes, until ``thaw``."""
        self.process.send_signal(signal.SIGSTOP)
        state = Path(f"/proc/{self.process.pid}/stat")
        while state.read_text().rsplit(")", 1)[1].split()[0] != "T":
            time.sleep(0.001)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    # -- what it holds ---------------------------------------------------------------------------

    def manifest(self) -> list[Entry]:
        """Every asset as it is now."""
        return self.control.manifest()

    def content(self, checksum: str) -> bytes:
        return self.control.content(checksum)

    # -- what it was asked -----------------------------------------------------------------------

    def calls(self, *, kind: str = "", path: str = "", checksum: str = "") -> list[Entry]:
        """The calls since the last reset, of one kind, path or content."""
        return [
            call
            for call in self.control.traffic()["log"]
            if kind in ("", call["kind"])
            and call["path"].endswith(path)
            and checksum in ("", call["checksum"])
        ]

    def sent(self, checksum: str) -> int:
        """Bytes of one content that were sent since the last reset."""
        return int(self.control.traffic(log=False)["content_bytes"].get(checksum, 0))
