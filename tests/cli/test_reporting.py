"""Progress where there is no terminal."""

from __future__ import annotations

import itertools
import time

import pytest

from icloudfs.cli.reporting import reporting
from icloudfs.progress import Progress


def test_what_stands_still_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A listing that waits for iCloud says nothing new for minutes."""
    hours = itertools.count(step=3600)
    monkeypatch.setattr(time, "monotonic", lambda: next(hours))
    with reporting() as report:
        for done in (1, 2, 2, 2, 3):
            report(Progress("listing", done, 3))

    told = capsys.readouterr().err.splitlines()
    assert told == [f"listing: {done} of 3" for done in (1, 2, 3)]
