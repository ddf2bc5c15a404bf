"""A library of any size in the simulator: listed from nothing, first seen, walked beside a yardstick."""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench.mounts import bare_mounted, find, mounted, seen_below
from tests.bench.processes import memory_of, timed_child
from tests.bench.stand import Stand, standing, wait_for

Figures = dict[str, Any]

_SYNC = [sys.executable, "-m", "icloudfs", "sync", "--mirror", "demand"]
_PHOTOS = (".HEIC", ".JPG", ".JPEG", ".PNG")


def measure(assets: int, latency: float, rounds: int) -> Figures:
    with standing(assets, latency) as stand:
        figures = {"assets": assets, "latency_ms": latency} | _listing(stand)
        figures["database_bytes"] = stand.database.stat().st_size
        figures["database_bytes_an_asset"] = (
            stand.database.stat().st_size // figures["listed_photos"]
        )
        figures |= _first_photo(stand)
        return figures | _walks(stand, rounds)


def _listing(stand: Stand) -> Figures:
    """From an empty state to a complete list."""
    stand.control.reset_traffic()
    seconds, peak = timed_child(_SYNC, stand.environment)
    state = stand.status()
    last = state["runs"][0]
    seconds_unchanged, _ = timed_child(_SYNC, stand.environment)
    return {
        "listed_photos": state["assets"]["total"],
        "listing_s": seconds,
        "listing_api_calls": last["api_calls"],
        "listing_bytes": last["bytes"],
        "listing_peak_memory_mb": peak,
        "nothing_changed_api_calls": stand.status()["runs"][0]["api_calls"],
        "nothing_changed_s": seconds_unchanged,
    }


def _first_photo(stand: Stand) -> Figures:
    """From an empty state to a photo that can be read: mount, list, open, read to its end."""
    fresh = Stand(stand.url, stand.home / "fresh")
    fresh.home.mkdir()
    fresh.login()
    with mounted(fresh) as (place, began):
        photo = wait_for(
            lambda: next((p for p in seen_below(place / "Library") if p.suffix in _PHOTOS), None),
            "a photo",
        )
        photo.read_bytes()
        return {"empty_state_to_first_photo_s": time.monotonic() - began}


def _walks(stand: Stand, rounds: int) -> Figures:
    """``find -printf`` over everything: ours and the yardstick in turn, each on a fresh mount."""
    ours: dict[str, list[float]] = {"first_ls": [], "cold": [], "warm": []}
    bare: dict[str, list[float]] = {"cold": [], "warm": []}
    entries, peak = 0, 0.0
    for _ in range(rounds):
        with mounted(stand) as (place, began):
            list(place.iterdir())
            ours["first_ls"].append(time.monotonic() - began)
            ours["cold"].append(find(place))
            ours["warm"].append(find(place))
            entries = _files(place)
            peak = max(peak, memory_of(stand.daemon).peak)
        with bare_mounted("bare_sqlite", stand.database, stand.home) as place:
            bare["cold"].append(find(place))
            bare["warm"].append(find(place))
    return {
        "entries": entries,
        "mount_to_first_ls_s": statistics.median(ours["first_ls"]),
        "find_cold_s": statistics.median(ours["cold"]),
        "find_warm_s": statistics.median(ours["warm"]),
        "bare_sqlite_find_cold_s": statistics.median(bare["cold"]),
        "bare_sqlite_find_warm_s": statistics.median(bare["warm"]),
        "find_cold_ratio": statistics.median(ours["cold"]) / statistics.median(bare["cold"]),
        "find_warm_ratio": statistics.median(ours["warm"]) / statistics.median(bare["warm"]),
        "daemon_peak_memory_mb": peak,
    }


def _files(place: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(place))
