"""``python -m tests.bench``: a library of any size, listed, mounted and walked; figures on one page."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from icloudfs.demo.stage import environment_of, run
from icloudfs.simulator import Account, ControlClient

_PATIENCE = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--assets", type=int, default=20_000)
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds a call")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="icloudfs-bench-"))
    try:
        with _simulator(options.assets, options.latency) as url:
            figures = _measure(home, url, options.rounds)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    figures = {"assets": options.assets, "latency_ms": options.latency} | figures
    for name, value in figures.items():
        print(
            f"{name:44} {value:>14,.3f}" if isinstance(value, float) else f"{name:44} {value:>14,}"
        )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


@contextmanager
def _simulator(assets: int, latency: float) -> Iterator[str]:
    options = ["--assets", str(assets), "--latency", str(latency)]
    process = subprocess.Popen(
        [sys.executable, "-m", "icloudfs", "simulator", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _measure(home: Path, url: str, rounds: int) -> dict[str, Any]:
    account = Account()
    environment = environment_of(account, url, home)
    run(environment, "login", "--code", account.code)
    figures = _listing(environment, url, home)
    database = home / "state" / f"{account.apple_id}.db"
    figures["database_bytes"] = database.stat().st_size
    figures["database_bytes_an_asset"] = database.stat().st_size // figures["listed_photos"]
    figures |= _first_photo(environment, home)
    return figures | _walks(environment, home, database, rounds)


def _listing(environment: dict[str, str], url: str, home: Path) -> dict[str, Any]:
    """From an empty state to a complete list."""
    ControlClient(url).reset_traffic()
    seconds, peak = _timed_child(
        [sys.executable, "-m", "icloudfs", "sync", "--mirror", "demand"], environment
    )
    state = json.loads(run(environment, "status", "--json"))
    last = state["runs"][0]
    seconds_unchanged, _ = _timed_child(
        [sys.executable, "-m", "icloudfs", "sync", "--mirror", "demand"], environment
    )
    unchanged = json.loads(run(environment, "status", "--json"))["runs"][0]
    return {
        "listed_photos": state["assets"]["total"],
        "listing_s": seconds,
        "listing_api_calls": last["api_calls"],
        "listing_bytes": last["bytes"],
        "listing_peak_memory_mb": peak / 1024,
        "nothing_changed_api_calls": unchanged["api_calls"],
        "nothing_changed_s": seconds_unchanged,
    }


def _timed_child(command: list[str], environment: dict[str, str]) -> tuple[float, int]:
    """(seconds, peak memory in KiB) of a command that must succeed."""
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.monotonic() - began, usage.ru_maxrss


def _first_photo(environment: dict[str, str], home: Path) -> dict[str, Any]:
    """From an empty state to a photo that can be read: mount, list, open, read to its end."""
    fresh = environment | {
        "ICLOUDFS_COOKIE_DIRECTORY": str(home / "fresh-state"),
        "ICLOUDFS_CACHE_DIR": str(home / "fresh-cache"),
    }
    run(fresh, "login", "--code", Account().code)
    with _mounted(fresh, home) as (place, began):
        photo = _wait_for(lambda: next((place / "Library").glob("*/*/*.[JH][PE][GI]*"), None))
        photo.read_bytes()
        return {"empty_state_to_first_photo_s": time.monotonic() - began}


def _wait_for(question: Callable[[], Path | None]) -> Path:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(0.005)
    raise SystemExit("no photo appeared")


def _walks(environment: dict[str, str], home: Path, database: Path, rounds: int) -> dict[str, Any]:
    """``find -printf`` over everything: ours and the yardstick in turn, each on a fresh mount."""
    ours: dict[str, list[float]] = {"first_ls": [], "cold": [], "warm": []}
    bare: dict[str, list[float]] = {"cold": [], "warm": []}
    entries = memory = 0
    for _ in range(rounds):
        with _mounted(environment, home) as (place, began):
            list(place.iterdir())
            ours["first_ls"].append(time.monotonic() - began)
            ours["cold"].append(_find(place))
            ours["warm"].append(_find(place))
            entries = sum(len(files) for _, _, files in os.walk(place))
            memory = max(memory, _peak_memory(_daemon(environment)))
        with _bare(database, home) as place:
            bare["cold"].append(_find(place))
            bare["warm"].append(_find(place))
    return {
        "entries": entries,
        "mount_to_first_ls_s": statistics.median(ours["first_ls"]),
        "find_cold_s": statistics.median(ours["cold"]),
        "find_warm_s": statistics.median(ours["warm"]),
        "bare_sqlite_find_cold_s": statistics.median(bare["cold"]),
        "bare_sqlite_find_warm_s": statistics.median(bare["warm"]),
        "find_cold_ratio": statistics.median(ours["cold"]) / statistics.median(bare["cold"]),
        "find_warm_ratio": statistics.median(ours["warm"]) / statistics.median(bare["warm"]),
        "daemon_peak_memory_mb": memory / 1024,
    }


def _find(place: Path) -> float:
    began = time.monotonic()
    command = ["find", str(place), "-printf", "%s %T@ %n %p\\n"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


@contextmanager
def _mounted(environment: dict[str, str], home: Path) -> Iterator[tuple[Path, float]]:
    """(mount point, when the command was given)."""
    place = home / "mount"
    place.mkdir(exist_ok=True)
    began = time.monotonic()
    run(environment, "mount", str(place), "--log-file", str(home / "daemon.log"))
    try:
        yield place, began
    finally:
        run(environment, "unmount", "--lazy", str(place))


@contextmanager
def _bare(database: Path, home: Path) -> Iterator[Path]:
    place = home / "bare"
    place.mkdir(exist_ok=True)
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.bare_sqlite", database, place])
    _wait_for(lambda: place if place.is_mount() else None)
    try:
        yield place
    finally:
        subprocess.run(["fusermount3", "-u", str(place)], check=True)
        process.wait(_PATIENCE)


def _daemon(environment: dict[str, str]) -> int:
    """Its process number."""
    running: str = json.loads(run(environment, "status", "--json"))["running"]
    return int(running.rsplit(" ", 1)[1])


def _peak_memory(process: int) -> int:
    """KiB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise SystemExit("the daemon is gone")


if __name__ == "__main__":
    main()
