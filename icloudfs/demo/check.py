"""Compares a whole mount with what the simulator holds: every file read, every place, every byte.

What ought to be where is worked out here anew from the simulator's manifest, not asked of the code under
test. A place is compared as the contents it holds: names are judged by their own tests.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from icloudfs.simulator import ControlClient

Entry = dict[str, Any]
Places = Counter[tuple[str, str]]
"""(directory below the mount, SHA-256 of a file in it) → how many."""

_CLASS_VIEWS = {
    "video": "Videos",
    "slo-mo": "Slo-mo",
    "time-lapse": "Time-lapse",
    "panorama": "Panoramas",
    "screenshot": "Screenshots",
    "live": "Live Photos",
    "portrait": "Portrait",
    "long-exposure": "Long Exposure",
    "animated": "Animated",
}
_DERIVED = {"Recent"}
"""Depends on today's date; the library's photos do not."""


class Report(msgspec.Struct):
    """What the check found."""

    photos: int
    files: int
    entries: int
    bytes: int
    seconds: float
    differences: list[str]

    def __str__(self) -> str:
        found = f"{len(self.differences)} differences" if self.differences else "no difference"
        return (
            f"{self.photos} photos, {self.files} files in {self.entries} places,"
            f" {self.bytes / 1e6:.1f} MB read and compared in {self.seconds:.1f} s: {found}"
        )


def check(mount: Path, url: str) -> Report:
    """Walk ``mount``, read every file in it, and compare with the simulator at ``url``."""
    began = time.monotonic()
    simulator = ControlClient(url)
    manifest = simulator.manifest()
    truth = _Truth(simulator)
    expected = Counter(place for entry in manifest for place in _places(entry, truth))
    found, reading = _read_all(mount)
    differences = reading.errors + _differences(expected, found)
    return Report(
        photos=len(manifest),
        files=len(reading.inodes),
        entries=reading.entries,
        bytes=reading.bytes,
        seconds=time.monotonic() - began,
        differences=differences,
    )


class _Truth:
    """SHA-256 of the simulator's contents, each fetched once."""

    def __init__(self, simulator: ControlClient) -> None:
        self._simulator = simulator
        self._known: dict[str, str] = {}

    def sha256(self, checksum: str) -> str:
        if checksum not in self._known:
            content = self._simulator.content(checksum)
            self._known[checksum] = hashlib.sha256(content).hexdigest()
        return self._known[checksum]


def _places(entry: Entry, truth: _Truth) -> Iterator[tuple[str, str]]:
    """Every place of every file of one photo."""
    contents = [
        truth.sha256(rendition["checksum"])
        for rendition in entry["renditions"]
        if not _is_automatic(entry, rendition)
    ]
    for directory in _directories(entry):
        for content in contents:
            yield directory, content


def _is_automatic(entry: Entry, rendition: Entry) -> bool:
    """A slow-motion video's rendition that the phone makes by itself is no file."""
    made = (rendition["rendition"], entry["adjustment"])
    return made == ("edited-video", "com.apple.video.slomo")


def _directories(entry: Entry) -> Iterator[str]:
    if entry["deleted"]:
        yield "Recently Deleted"
    elif entry["hidden"]:
        yield "Hidden"
    else:
        yield from _directories_of_visible(entry)


def _directories_of_visible(entry: Entry) -> Iterator[str]:
    if entry["burst"]:
        yield f"Bursts/{entry['burst']}"
    for path in entry["albums"]:
        yield "/".join(["Albums", *map(_plain, path)])
    if entry["burst"] and not entry["burst_pick"]:
        return
    yield _month(entry)
    if entry["favorite"]:
        yield "Favorites"
    yield from (_CLASS_VIEWS[name] for name in entry["classes"])


def _month(entry: Entry) -> str:
    library = "Library" if entry["zone"] == "PrimarySync" else "Shared Library"
    if entry["taken"] is None:
        return f"{library}/Unknown date"
    local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        milliseconds=entry["taken"], seconds=entry["time_zone_offset"] or 0
    )
    return f"{library}/{local:%Y}/{local:%Y-%m}"


class _Reading(msgspec.Struct):
    inodes: set[int] = set()
    entries: int = 0
    bytes: int = 0
    errors: list[str] = []


def _read_all(mount: Path) -> tuple[Places, _Reading]:
    found: Places = Counter()
    reading = _Reading()
    known: dict[int, str] = {}
    for folder, _, names in os.walk(mount, onerror=lambda e: reading.errors.append(str(e))):
        below = os.path.relpath(folder, mount)
        for name in names:
            path = Path(folder, name)
            reading.entries += 1
            try:
                ino = path.stat().st_ino
                reading.inodes.add(ino)
                # One inode is one file: it is read in the first of its places only.
                if ino not in known:
                    known[ino] = _sha256(path, reading)
            except OSError as error:
                reading.errors.append(f"{below}/{name}: {error.strerror}")
                continue
            found[below, known[ino]] += 1
    return found, reading


def _sha256(path: Path, reading: _Reading) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            reading.bytes += len(chunk)
    return digest.hexdigest()


def _differences(expected: Places, found: Places) -> list[str]:
    theirs, ours = _comparable(expected), _comparable(found)
    missing, extra = theirs - ours, ours - theirs
    return [
        *(f"missing in {place}: {count} × {sha[:12]}" for (place, sha), count in missing.items()),
        *(f"too much in {place}: {count} × {sha[:12]}" for (place, sha), count in extra.items()),
    ]


def _comparable(places: Places) -> Places:
    """Without the views that depend on today, and without the names that the tree invents."""
    comparable: Places = Counter()
    for (place, content), count in places.items():
        if place not in _DERIVED:
            comparable[_without_invented_name(place), content] += count
    return comparable


def _without_invented_name(place: str) -> str:
    """A burst's directory has a name made of its id, an album's may be changed or numbered."""
    top, *rest = place.split("/")
    match top:
        case "Bursts":
            return top
        case "Albums":
            return "/".join([top, *(_plain(title) for title in rest)])
        case _:
            return place


def _plain(title: str) -> str:
    """An album's title as far as a directory can show it: NFC, no slash, no number behind it."""
    shown = unicodedata.normalize("NFC", title).replace("/", "_").rstrip(". ")
    return re.sub(r" \(\d+\)$", "", shown)
