"""One writer an account."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from icloudfs.errors import AlreadyRunning
from icloudfs.state.lock import WriterLock, holder, lock_path

ACCOUNT = "alice@example.com"
HOLD = (
    "import sys, time, pathlib; from icloudfs.state.lock import WriterLock\n"
    f"with WriterLock(pathlib.Path(sys.argv[1]), {ACCOUNT!r}, 'mounted on /photos'):\n"
    "    print('held', flush=True); time.sleep(600)"
)


def test_a_second_holder_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    with (
        WriterLock(tmp_path, ACCOUNT, "mounted on /photos"),
        pytest.raises(AlreadyRunning, match=f"mounted on /photos, process {os.getpid()}"),
        WriterLock(tmp_path, ACCOUNT, "sync"),
    ):
        pass
    with WriterLock(tmp_path, ACCOUNT, "sync"):
        assert holder(tmp_path, ACCOUNT) == f"sync, process {os.getpid()}"
    assert holder(tmp_path, ACCOUNT) is None


def test_other_accounts_are_free(tmp_path: Path) -> None:
    with WriterLock(tmp_path, ACCOUNT, "a"), WriterLock(tmp_path, "bob@example.com", "b"):
        assert lock_path(tmp_path, ACCOUNT) != lock_path(tmp_path, "bob@example.com")


def test_nobody_holds_what_was_never_made(tmp_path: Path) -> None:
    assert holder(tmp_path / "nowhere", ACCOUNT) is None


def test_the_kernel_releases_it_when_the_holder_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    assert holder(tmp_path, ACCOUNT) == f"mounted on /photos, process {process.pid}"
    with pytest.raises(AlreadyRunning), WriterLock(tmp_path, ACCOUNT, "sync"):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert holder(tmp_path, ACCOUNT) is None
    with WriterLock(tmp_path, ACCOUNT, "sync"):
        pass


def test_an_error_inside_releases_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), WriterLock(tmp_path, ACCOUNT, "sync"):
        raise ZeroDivisionError
    assert holder(tmp_path, ACCOUNT) is None
