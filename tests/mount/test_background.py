"""Starting a daemon and hearing how it went."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from icloudfs.errors import MountPointError
from icloudfs.mount import background

PRELUDE = """
import os, sys, time
from icloudfs import errors
from icloudfs.mount.background import Readiness
readiness = Readiness()
before = os.getpgrp()
"""


def start(program: str, log: Path | None = None) -> int:
    return background.start([sys.executable, "-c", PRELUDE + program], output=log)


def test_it_returns_when_the_child_is_ready(tmp_path: Path) -> None:
    told = tmp_path / "told"
    child = start(
        f"readiness.ready(); open({str(told)!r}, 'w').write(f'{{before}} {{os.getpgrp()}}');"
        f" os.rename({str(told)!r}, {str(told)!r} + '!'); time.sleep(60)"
    )
    try:
        while not (found := tmp_path / "told!").exists():
            pass
        before, after = found.read_text().split()
        # In our process group until it was ready, in one of its own from then on.
        assert (int(before), int(after)) == (os.getpgrp(), child)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_an_error_comes_with_its_hint_and_exit_code() -> None:
    with pytest.raises(background.StartFailed) as caught:
        start(
            "error = errors.MountPointError('It is a file.', hint='Take another.');"
            "readiness.failed(error); sys.exit(error.exit_code)"
        )
    assert str(caught.value) == "It is a file."
    assert (caught.value.hint, caught.value.exit_code) == ("Take another.", 7)


@pytest.mark.parametrize(
    ("program", "how"),
    [
        ("sys.exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), 9)", "SIGKILL"),
        ("1/0", "exit code 1"),
    ],
)
def test_a_silent_death_has_a_sentence(program: str, how: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(MountPointError, match=how) as caught:
        start(program, log)
    assert str(log) in caught.value.hint
    assert ("ZeroDivisionError" in log.read_text()) == (program == "1/0")


def test_without_a_parent_nothing_happens() -> None:
    readiness = background.Readiness()
    group = os.getpgrp()
    readiness.ready()
    readiness.failed(MountPointError("nobody listens"))
    assert os.getpgrp() == group
