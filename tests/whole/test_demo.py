"""The demo: everything at once, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from icloudfs.simulator import ControlClient
from tests.scratch import ICLOUDFS, Scratch

ASSETS = "24"
_PATIENCE = 30.0


@pytest.fixture
def temporary(scratch: Scratch) -> Path:
    """Where the demo keeps its things."""
    folder = scratch.folder / "tmp"
    folder.mkdir()
    scratch.environment["TMPDIR"] = str(folder)
    return folder


def start(scratch: Scratch, place: Path) -> subprocess.Popen[str]:
    """The demo, once it says what to try."""
    demo = scratch.start(
        *(ICLOUDFS, "demo", place, "--assets", ASSETS),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("Ctrl-C"):
            break
    return demo


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_until_told(scratch: Scratch, temporary: Path, signum: signal.Signals) -> None:
    place = scratch.folder / "photos"
    demo = start(scratch, place)
    assert len(list((place / "Library").rglob("*.*"))) > 10
    assert next((place / "Library").rglob("*.HEIC")).read_bytes()[4:8] == b"ftyp"

    demo.send_signal(signum)

    assert demo.wait(_PATIENCE) == 0
    assert not place.exists()
    assert list(temporary.iterdir()) == []
    assert scratch.processes() == {}


def test_ctrl_c_reaches_all_of_it_at_once(scratch: Scratch, temporary: Path) -> None:
    """A terminal signals the whole group."""
    demo = start(scratch, scratch.folder / "photos")

    os.killpg(demo.pid, signal.SIGINT)

    assert demo.wait(_PATIENCE) == 0
    assert list(temporary.iterdir()) == []


def test_somebody_has_unmounted_it_already(scratch: Scratch, temporary: Path) -> None:
    place = scratch.folder / "photos"
    demo = start(scratch, place)
    scratch.run(ICLOUDFS, "unmount", place)

    demo.send_signal(signal.SIGINT)

    assert demo.wait(_PATIENCE) == 0
    assert list(temporary.iterdir()) == []


def test_a_folder_of_one_s_own_stays(scratch: Scratch, temporary: Path) -> None:
    place = scratch.folder / "mine"
    place.mkdir()
    demo = start(scratch, place)

    demo.send_signal(signal.SIGINT)

    assert demo.wait(_PATIENCE) == 0
    assert place.is_dir()


def test_a_folder_that_is_not_empty(scratch: Scratch, temporary: Path) -> None:
    (scratch.folder / "mine").mkdir()
    (scratch.folder / "mine" / "diary").write_text("")

    refused = scratch.run(
        ICLOUDFS, "demo", scratch.folder / "mine", "--assets", ASSETS, check=False
    )

    assert refused.returncode == 7
    assert "is not empty" in refused.stderr
    assert len(refused.stderr.splitlines()) <= 2
    assert list(temporary.iterdir()) == []


def test_check_prints_one_line_of_figures(scratch: Scratch, temporary: Path) -> None:
    done = scratch.run(ICLOUDFS, "demo", "--check", "--assets", ASSETS)

    assert re.fullmatch(
        r"\d+ photos, \d+ files in \d+ places, [\d.]+ MB read and compared in [\d.]+ s:"
        r" no difference\n",
        done.stdout,
    )
    assert done.stderr == ""
    assert list(temporary.iterdir()) == []


def test_check_fails_when_a_byte_is_wrong(scratch: Scratch, temporary: Path) -> None:
    demo = scratch.start(
        *(ICLOUDFS, "demo", "--check", "--assets", ASSETS),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _spoil(scratch, demo)

    output, complaints = demo.communicate(timeout=_PATIENCE)

    assert demo.returncode == 16
    assert re.search(r"s: \d+ differences\n$", output)
    assert "Input/output error" in complaints
    assert "icloudfs: The mount is not what the local iCloud holds." in complaints


def _spoil(scratch: Scratch, demo: subprocess.Popen[str]) -> None:
    """Let every content that the demo's local iCloud sends be wrong, as soon as it can be found."""
    deadline = time.monotonic() + _PATIENCE
    while demo.poll() is None and time.monotonic() < deadline:
        for pid in scratch.processes():
            try:
                told = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            if found := re.search(rb"ICLOUDFS_ENDPOINT=([^\0]+)", told):
                ControlClient(found[1].decode()).set_fault("content", "flip")
                return
    raise AssertionError("the demo's local iCloud was not found")
