"""Starting a daemon and hearing how it went."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from icloudfs.errors import MountPointError
from icloudfs.mount import background
from icloudfs.progress import Progress, to_nobody

PRELUDE = """
import os, sys, time
from icloudfs import errors
from icloudfs.mount.background import Readiness
from icloudfs.progress import Progress
readiness = Readiness()
before = os.getpgrp()
"""


def start(program: str, log: Path | None = None) -> background.Started:
    return background.start([sys.executable, "-c", PRELUDE + program], output=log)


def test_it_returns_when_the_child_is_ready(tmp_path: Path) -> None:
    told = tmp_path / "told"
    child = start(
        f"readiness.ready(listed=True); open({str(told)!r}, 'w').write(f'{{before}} {{os.getpgrp()}}');"
        f" os.rename({str(told)!r}, {str(told)!r} + '!'); time.sleep(60)"
    )
    try:
        while not (found := tmp_path / "told!").exists():
            pass
        before, after = found.read_text().split()
        # In our process group until it was ready, in one of its own from then on.
        assert (int(before), int(after)) == (os.getpgrp(), child.pid)
        assert child.is_listed and child.until_listed(to_nobody) == []
    finally:
        end(child)


def end(child: background.Started) -> None:
    with child:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)


def test_it_tells_how_far_the_first_listing_is() -> None:
    child = start(
        "readiness.ready(listed=False); readiness.is_at(Progress('listing', 1, 2));"
        "readiness.is_at(Progress('listing', 2, 2)); print(readiness.listed(['an album']));"
        "readiness.is_at(Progress('listing', 3, 2)); time.sleep(60)"
    )
    seen: list[object] = []
    assert not child.is_listed
    assert child.until_listed(seen.append) == ["an album"]
    assert seen == [Progress("listing", 1, 2), Progress("listing", 2, 2)]
    end(child)


def test_a_person_who_is_needed_meanwhile() -> None:
    child = start(
        "readiness.ready(listed=False);"
        "readiness.failed(errors.LoginNeeded('It ran out.')); time.sleep(60)"
    )
    with pytest.raises(background.StartFailed, match="It ran out") as caught:
        child.until_listed(to_nobody)
    assert caught.value.exit_code == 78
    end(child)


def test_a_daemon_that_ends_before_everything_is_listed() -> None:
    with (
        start("readiness.ready(listed=False); sys.exit(0)") as child,
        pytest.raises(MountPointError, match="before everything was listed"),
    ):
        child.until_listed(to_nobody)
    os.waitpid(child.pid, 0)


def test_a_parent_that_reads_nothing_keeps_nobody(tmp_path: Path) -> None:
    """It was stopped, by Ctrl-Z perhaps. The last word is said again until there is room for it."""
    child = start(
        "readiness.ready(listed=False);"
        "[readiness.is_at(Progress('listing', n, 9)) for n in range(3000)];"
        f"open({str(tmp_path / 'goes on')!r}, 'w');"
        "exec('while not readiness.listed([]): time.sleep(0.01)'); time.sleep(60)"
    )
    while not (tmp_path / "goes on").exists():
        pass
    assert child.until_listed(to_nobody) == []
    end(child)


def test_it_stays_in_the_group_until_everything_is_listed(tmp_path: Path) -> None:
    """An automount lets nobody else look until mount(8) is done (facts/desktop.md §0.11)."""
    told = tmp_path / "told"
    child = start(
        "readiness._stays_in_group = True; readiness.ready(listed=False); groups = [os.getpgrp()];"
        f"readiness.listed([]); open({str(told)!r}, 'w').write(f'{{groups[0]}} {{os.getpgrp()}}');"
        f"os.rename({str(told)!r}, {str(told)!r} + '!'); time.sleep(60)"
    )
    child.until_listed(to_nobody)
    while not (found := tmp_path / "told!").exists():
        pass
    assert found.read_text() == f"{os.getpgrp()} {child.pid}"
    end(child)


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
    readiness.ready(listed=False)
    readiness.failed(MountPointError("nobody listens"))
    assert os.getpgrp() == group
