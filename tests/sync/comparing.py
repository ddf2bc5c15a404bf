"""Whether two clients show the same library, and whether a client shows what the simulator holds.

Directories and files are told by their inode numbers, which follow from iCloud's own names
(tree/numbers.py) and are therefore the same for every client.

Names must be the same too, with these exceptions, each of which needs two things that want one name:

* **A photo that has, or had, a namesake** (same stem in any rendition, ignoring case: a photo that is
  itself called IMG_1-edited is one of an IMG_1 that was edited) anywhere in the account. Names are
  given once (promise P4): a client that was there from the beginning has given them as the photos came,
  and keeps them when the first of them is deleted, moved to another month or renamed; one that lists
  the library today sees only those that are left and goes by their age. Then each of the two names must
  be the photo's plain name or that name with a suffix.
* **An album that has, or had, a namesake**, for the same reason: its name, or that with a number.

Everything else is the same to the last bit: places, sizes, checksums, modes, times, link counts.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import apsw

from icloudfs.simulator import Simulator, manifest
from icloudfs.tree import names
from icloudfs.tree.directory import Directory
from icloudfs.tree.layout import View
from icloudfs.tree.numbers import FIRST_DIRECTORY
from tests.sync.account import Client
from tests.tree.invariants import is_variant


class Names:
    """Every name that ever was in the account."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._stems: dict[str, set[str]] = {}
        self._titles: dict[str, set[str]] = {}

    def note(self) -> None:
        """To be called after each action of the phone."""
        for zone in self._simulator.cloud.zones():
            for asset in zone.assets():
                master = zone.master(asset.master)
                if master is not None:
                    stem = names.fold(master.filename.rpartition(".")[0])
                    for mark in ("", "-edited"):
                        self._stems.setdefault(stem + mark, set()).add(asset.name)
            for album in zone.albums():
                self._titles.setdefault(names.fold(names.sanitise(album.title)), set()).add(
                    album.name
                )

    def may_differ(self, one: str, other: str, *, directory: bool) -> bool:
        """Whether an exception covers these two names of one thing."""
        if directory:
            bare = {re.sub(r" \(\d+\)$", "", name) for name in (one, other)}
            return len(bare) == 1 and len(self._titles.get(names.fold(bare.pop()), ())) > 1
        shared = [stem for stem, assets in self._stems.items() if len(assets) > 1]
        return any(_is_of(one, stem) and _is_of(other, stem) for stem in shared)


def _is_of(name: str, stem: str) -> bool:
    """Whether a file name is that stem, plain or with a suffix, in any rendition."""
    folded = names.fold(name)
    extension = folded.rpartition(".")[2]
    return any(is_variant(folded, f"{stem}{mark}.{extension}") for mark in ("", "-edited", "-alt"))


def assert_same(one: Client, other: Client, known: Names) -> None:
    """Both clients show the same tree."""
    here, there = _entries(one.reader), _entries(other.reader)
    assert here.keys() == there.keys()
    for place in here:
        if here[place] != there[place]:
            directory = place[1] >= FIRST_DIRECTORY
            assert known.may_differ(here[place], there[place], directory=directory), (
                here[place],
                there[place],
            )
    assert _files(one.reader) == _files(other.reader)


def _entries(connection: apsw.Connection) -> dict[tuple[int, int], str]:
    return {
        (int(str(parent)), int(str(ino))): bytes(name).decode()
        for parent, name, ino in connection.execute("SELECT parent, name, ino FROM dirent")
    }


def _files(connection: apsw.Connection) -> dict[int, tuple[Any, ...]]:
    """Every file that is somewhere."""
    return {
        int(str(ino)): tuple(rest)
        for ino, *rest in connection.execute(
            "SELECT ino, mode, size, mtime, ctime, nlink, checksum, rendition FROM inode"
            " WHERE asset IS NOT NULL AND nlink > 0"
        )
    }


_VIEWS = {
    "video": View.VIDEOS,
    "live": View.LIVE,
    "screenshot": View.SCREENSHOTS,
    "panorama": View.PANORAMAS,
    "slo-mo": View.SLO_MO,
    "time-lapse": View.TIME_LAPSE,
    "portrait": View.PORTRAIT,
    "long-exposure": View.LONG_EXPOSURE,
    "animated": View.ANIMATED,
}


def assert_is_what_the_simulator_holds(client: Client, simulator: Simulator) -> None:
    """Every rendition of every photo is where it must be, with Apple's size and checksum."""
    expected: Counter[tuple[Any, ...]] = Counter()
    for zone in simulator.cloud.zones():
        if not zone.photos:
            continue
        for asset in zone.assets():
            truth = manifest.entry(zone, asset, [])
            for rendition in truth["renditions"]:
                if rendition["rendition"] == "edited-video" and "slo-mo" in truth["classes"]:
                    continue
                for top in _tops(truth):
                    expected[
                        zone.name,
                        asset.name,
                        rendition["rendition"],
                        rendition["checksum"],
                        rendition["size"],
                        top,
                    ] += 1
    found = Counter(_found(client.reader))
    assert found == expected


def _tops(truth: dict[str, Any]) -> list[str]:
    """The top directories of an asset, but for Albums, Recent and Bursts."""
    if truth["deleted"]:
        return [View.DELETED]
    if truth["hidden"]:
        return [View.HIDDEN]
    if not truth["visible"]:
        return []
    home = View.LIBRARY if truth["zone"] == "PrimarySync" else View.SHARED
    tops: list[str] = [home, *(_VIEWS[label] for label in truth["classes"] if label != "favorite")]
    return [*tops, View.FAVORITES] if truth["favorite"] else tops


def _found(connection: apsw.Connection) -> list[tuple[Any, ...]]:
    directory = Directory(connection)
    return [
        (zone, asset, rendition, checksum, size, top)
        for ino, zone, asset, rendition, checksum, size in connection.execute(
            "SELECT i.ino, z.name, a.name, i.rendition, i.checksum, i.size FROM inode i"
            " JOIN asset a ON a.id = i.asset JOIN zone z ON z.id = a.zone"
        )
        for top in (path.split("/")[0] for path in directory.places(int(str(ino))))
        if top not in (View.ALBUMS, View.RECENT, View.BURSTS)
    ]


def albums_shown(client: Client) -> Counter[tuple[str, str]]:
    """(album's path without numbers, asset) of every original in an album."""
    directory = Directory(client.reader)
    found: Counter[tuple[str, str]] = Counter()
    for ino, asset in client.reader.execute(
        "SELECT i.ino, a.name FROM inode i JOIN asset a ON a.id = i.asset"
        " WHERE i.rendition = 'original'"
    ):
        for path in directory.places(int(str(ino))):
            top, *folders, _ = path.split("/")
            if top == View.ALBUMS:
                bare = "/".join(re.sub(r" \(\d+\)$", "", folder) for folder in folders)
                found[bare, str(asset)] += 1
    return found


def albums_held(simulator: Simulator) -> Counter[tuple[str, str]]:
    """The same as the simulator has it, for members that are in sight."""
    found: Counter[tuple[str, str]] = Counter()
    for album in manifest.albums(simulator.cloud):
        zone = simulator.cloud.zone(album["zone"])
        if album["kind"] == 0:
            path = "/".join(names.sanitise(title) for title in album["path"])
            for member in zone.ranked_members(album["album"]):
                found[path, member.name] += 1
    return found
