"""The test stand: a simulator in a process of its own, and an account that is signed in to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from icloudfs.demo.stage import environment_of, run
from icloudfs.simulator import Account, ControlClient
from icloudfs.state.database import database_path

PATIENCE = 120.0
"""Seconds for anything that is not being measured."""

T = TypeVar("T")


class Stand:
    """One account's folder, with the commands that mean it."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self.home = home
        self.account = Account()
        self.environment = environment_of(self.account, url, home)

    def icloudfs(self, *arguments: str) -> str:
        """Run a command as a person would; what it prints. Raises IcloudfsError."""
        return run(self.environment, *arguments)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.icloudfs("status", "--json"))
        return found

    def login(self) -> None:
        self.icloudfs("login", "--code", self.account.code)

    @property
    def control(self) -> ControlClient:
        return ControlClient(self.url)

    @property
    def database(self) -> Path:
        return database_path(self.home / "state", self.account.apple_id)

    @property
    def daemon(self) -> int:
        """The process number of whoever serves the mount."""
        return int(str(self.status()["running"]).rsplit(" ", 1)[1])


@contextmanager
def standing(assets: int, latency: float) -> Iterator[Stand]:
    """A signed-in account with a library of that size, listed nowhere yet; all gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="icloudfs-bench-"))
    try:
        with _simulator(assets, latency) as url:
            stand = Stand(url, home)
            stand.login()
            yield stand
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _simulator(assets: int, latency: float) -> Iterator[str]:
    """Its URL; ``latency`` in milliseconds a call."""
    options = ["--assets", str(assets), "--latency", str(latency)]
    process = subprocess.Popen(
        [sys.executable, "-m", "icloudfs", "simulator", *options],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(PATIENCE)


def wait_for(
    question: Callable[[], T | None], what: str, pause: float = 0.005, patience: float = PATIENCE
) -> T:
    """Ask again and again until there is an answer."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        answer = question()
        if answer is not None:
            return answer
        time.sleep(pause)
    raise SystemExit(f"waited {patience:.0f} s for {what}")
