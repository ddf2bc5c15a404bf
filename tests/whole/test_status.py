"""What ``status`` says, once and again and again."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from icloudfs.errors import Incomplete
from tests.scratch import ICLOUDFS, Scratch, wait_until
from tests.whole.library import Library
from tests.whole.local_icloud import LocalICloud
from tests.whole.terminal import Terminal

_DAY = 86_400


def test_status_names_what_is_on_its_way(library: Library, icloud: LocalICloud) -> None:
    library.mount()
    video = next(path for path in library.files("Videos") if path.stat().st_size > 33 << 20)
    icloud.control.set_fault("content", "throttle", bytes_per_second=1 << 20)
    reader = library.scratch.start("cat", video, stdout=subprocess.DEVNULL)
    wait_until(lambda: library.status()["now"]["transfers"], 30)
    (transfer,) = library.status()["now"]["transfers"]
    assert transfer["path"].endswith(video.name)
    assert 0 < transfer["done"] < transfer["size"] == video.stat().st_size
    reader.kill()
    reader.wait()


def test_how_old_the_token_is_and_when_trust_ends(library: Library) -> None:
    told = library.status()
    now = time.time()
    assert all(now - _DAY < zone["token_received"] < now for zone in told["zones"])
    assert 29 * _DAY < told["trusted_until"] - now < 31 * _DAY
    assert "PrimarySync: " in (text := library.icloudfs("status").stdout)
    assert "sync token" in text and "29 days from now" in text

    library.icloudfs("logout")
    assert library.status()["trusted_until"] is None
    assert "needed: icloudfs login" in library.icloudfs("status").stdout


def test_the_limit_is_that_of_the_mount(library: Library) -> None:
    assert "Limit      10G" in library.icloudfs("cache").stdout
    library.mount("--cache-limit", "123M")
    assert "Limit      123M" in library.icloudfs("cache").stdout
    assert " of 123M\n" in library.icloudfs("status").stdout


def test_a_library_that_was_never_listed_has_no_figures(stranger: Library) -> None:
    """The database may be there already: what was refused for want of a sign-in has made it."""
    stranger.icloudfs("sync", check=False, environment={"ICLOUDFS_PASSWORD": ""})
    assert [*stranger.state.glob("*.db")]

    told = stranger.icloudfs("status").stdout
    assert "Library     never listed; mount it, or: icloudfs sync --mirror demand\n" in told
    assert "0 photos" not in told
    for command in (
        ("list",),
        ("import-existing", "-d", stranger.mount_point),
        ("retry-failed",),
        ("cache", "pin", "Library"),
    ):
        refused = stranger.icloudfs(*command, check=False)
        assert (refused.returncode, refused.stdout) == (Incomplete.exit_code, "")
        assert "The library was never listed." in refused.stderr

    doctor = stranger.icloudfs("doctor", check=False)
    assert re.search(
        r"BAD +library +it was never listed\n +mend it: icloudfs sync --mirror demand",
        doctor.stdout,
    )
    assert doctor.stderr.endswith(" things are not as they should be.\n")
    stranger.login()
    signed_in = stranger.icloudfs("doctor", check=False)
    assert "BAD  sign-in" not in signed_in.stdout
    bad = signed_in.stdout.count(
        "BAD  "
    )  # mounts of other tests, which end at any time, are among them
    what = "1 thing is not as it" if bad == 1 else f"{bad} things are not as they"
    assert f"icloudfs: {what} should be." in signed_in.stderr


def test_bytes_of_each_status_add_up(library: Library, icloud: LocalICloud) -> None:
    library.mount()
    photo = library.uncached(at_least=100_000)
    photo.read_bytes()
    icloud.control.set_fault("content", "flip")
    broken = library.uncached(at_least=1000)
    with pytest.raises(OSError):
        broken.read_bytes()

    counts = library.status()["assets"]

    parts = [counts[f"bytes_{status}"] for status in ("downloaded", "failed", "pending")]
    assert sum(parts) == counts["bytes"] and all(parts)
    assert parts[0] >= photo.stat().st_size


def test_a_watch_shows_what_changes(library: Library) -> None:
    library.mount()
    with _watching(library, "--json") as watch:
        before = _next(watch)
        library.uncached(at_least=1000).read_bytes()
        while (now := _next(watch))["cache"]["contents"] == before["cache"]["contents"]:
            pass
        library.unmount()
        while now["running"]:
            now = _next(watch)
        _end(watch, signal.SIGTERM)


def test_a_watch_outlives_the_library(library: Library) -> None:
    with _watching(library, "--json") as watch:
        assert _next(watch)["database"]
        library.icloudfs("reset-state", "--yes")
        while _next(watch)["database"]:
            pass
        _end(watch, signal.SIGINT)


def test_a_watch_ends_with_its_reader(library: Library) -> None:
    with _watching(library) as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline().startswith("Account")
        watch.stdout.close()
        assert watch.wait(10) == 0


def test_a_watch_on_a_terminal_stays_in_its_place(library: Library) -> None:
    environment = library.scratch.environment | library.environment | {"TERM": "xterm"}
    command: list[str | Path] = [ICLOUDFS, "status", "--watch", "--every", "0.1"]
    with Terminal(command, environment) as terminal:
        terminal.expect("Account")
        terminal.expect("\x1b[")  # back to the top
        terminal.expect("Account")
        terminal.press("\x03")
        assert terminal.end() == 0
    assert "Traceback" not in terminal.shown


def _watching(library: Library, *options: str) -> subprocess.Popen[str]:
    return library.scratch.start(
        ICLOUDFS, "status", "--watch", "--every", "0.1", *options,
        environment=library.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _next(watch: subprocess.Popen[str]) -> Any:
    assert watch.stdout is not None
    return json.loads(watch.stdout.readline())


def _end(watch: subprocess.Popen[str], how: signal.Signals) -> None:
    watch.send_signal(how)
    _, complaints = watch.communicate(timeout=10)
    assert (watch.returncode, complaints) == (0, "")


def test_what_lists_and_counts_are_worth(
    icloud: LocalICloud, signed_in: Library, common_scratch: Scratch
) -> None:
    library = Library(icloud, common_scratch, "indexed")
    library.take_state_of(signed_in)
    icloud.control.index_for(3600)
    try:
        library.sync()
    finally:
        icloud.control.index_for(0)
    (zone, *_) = library.status()["zones"]
    assert (zone["name"], zone["indexing"], zone["indexed_percent"]) == (
        "PrimarySync",
        "RUNNING",
        33,
    )
    text = library.icloudfs("status").stdout
    assert "iCloud is still indexing this library (RUNNING, 33 %)" in text
    everything = library.status()["assets"]

    icloud.control.set_fault("query", "count", percent=30)
    library.sync()
    told = library.status()
    (zone, *_) = told["zones"]
    assert zone["indexing"] is None and zone["excess"] > 0 and zone["album_excess"] > 0
    assert told["assets"] == everything
    text = library.icloudfs("status").stdout
    assert "indexing" not in text
    assert f"iCloud counts {zone['excess']} photos more than it gives" in text
    assert f"iCloud counts {zone['album_excess']} photos more in albums than it gives" in text
    assert told["runs"][0]["error"] is None
