"""What somebody who watches folders (``tests.watcher``) has heard."""

from __future__ import annotations

import subprocess
import threading
from types import TracebackType
from typing import Self


class Watching:
    """A watcher that runs: ``heard`` grows with every line that it prints. It ends with the block."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """``process`` has just been started; this returns when it watches."""
        assert process.stdout is not None
        self._process = process
        self._lines = process.stdout
        assert self._lines.readline() == "\n"
        self.heard: list[str] = []
        self._listening = threading.Thread(target=self._listen)
        self._listening.start()

    def _listen(self) -> None:
        self.heard.extend(line.strip() for line in self._lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._listening.join()
        self._lines.close()
