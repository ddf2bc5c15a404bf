"""Whether two clients show and know the same library, and whether a client shows what the simulator holds.

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


class Namesakes:
    """Every name that ever was in the account, and whose it was."""

    def __init__(self) -> None:
        self._stems: dict[str, set[str]] = {}
        self._titles: dict[str, set[str]] = {}

    def note_photo(self, asset: str, filename: str) -> None:
        """A photo is there whose original iCloud calls ``filename``."""
        stem = names.fold(filename.rpartition(".")[0])
        for mark in ("", "-edited"):
            self._stems.setdefault(stem + mark, set()).add(asset)

    def note_album(self, album: str, title: str) -> None:
        """An album or a folder is there that is called ``title``."""
        self._titles.setdefault(names.fold(names.sanitise(title)), set()).add(album)

    def may_differ(self, one: str, other: str, *, directory: bool) -> bool:
        """Whether an exception covers these two names of one thing."""
        if directory:
            bare = {re.sub(r" \(\d+\)$", "", name) for name in (one, other)}
            return len(bare) == 1 and len(self._titles.get(names.fold(bare.pop()), ())) > 1
        shared = [stem for stem, assets in self._stems.items() if len(assets) > 1]
        return any(_is_of(one, stem) and _is_of(other, stem) for stem in shared)


class Names(Namesakes):
    """Those of a simulator in this process."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__()
        self._simulator = simulator

    def note(self) -> None:
        """To be called after each action of the phone."""
        for zone in self._simulator.cloud.zones():
            for asset in zone.assets():
                master = zone.master(asset.master)
                if master is not None:
                    # One that is moved to another library is another photo there.
                    self.note_photo(f"{zone.name}/{asset.name}", master.filename)
            for album in zone.albums():
                self.note_album(album.name, album.title)


def _is_of(name: str, stem: str) -> bool:
    """Whether a file name is that stem, plain or with a suffix, in any rendition."""
    folded = names.fold(name)
    extension = folded.rpartition(".")[2]
    return any(is_variant(folded, f"{stem}{mark}.{extension}") for mark in ("", "-edited", "-alt"))


Entries = dict[tuple[int, int], str]
"""The name of each thing in each of its places: (inode of the directory, its own inode) → name."""


def assert_same(one: Client, other: Client, known: Namesakes) -> None:
    """Both clients show the same tree."""
    assert_same_tree(one.reader, other.reader, known)


def assert_same_tree(one: apsw.Connection, other: apsw.Connection, known: Namesakes) -> None:
    """Both databases hold the same tree."""
    assert_same_entries(_entries(one), _entries(other), known)
    here, there = _files(one), _files(other)
    assert here == there, sorted(here.items() ^ there.items())


def assert_same_entries(here: Entries, there: Entries, known: Namesakes) -> None:
    """The same things are in the same places, and have the same names with the exceptions above."""
    assert here.keys() == there.keys(), (_beyond(here, there), _beyond(there, here))
    for place in here:
        if here[place] != there[place]:
            directory = place[1] >= FIRST_DIRECTORY
            assert known.may_differ(here[place], there[place], directory=directory), (
                here[place],
                there[place],
            )


def _beyond(here: Entries, there: Entries) -> dict[tuple[int, int], str]:
    return {place: name for place, name in here.items() if place not in there}


def _entries(connection: apsw.Connection) -> Entries:
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


_RECORDS = {
    "zone": "area, name, owner, listed, relisting, members_due",
    "master": "name, filename, uti, resources, width, height, modified",
    "asset": "name, master, taken, added, zone_offset, time_zone, favorite, hidden, deleted, expunged,"
    " subtype, subtype_v2, burst, burst_flags, adjustment, render_type, width, height, duration,"
    " caption, description, keywords, latitude, longitude, altitude, resources, created, modified,"
    " checksum",
    "owed": "name, reason",
}
"""What iCloud says, by table: all but the numbers that a database gives by itself, and the names and
months of the tree."""

_LISTED_IN_PART = {
    "album": "name, title, kind, parent, position, created, modified",
    "relation": "asset, album, created",
}
"""The same, of which a listing tells a part: not what lies in a folder that was deleted, nor that a hidden
photo is in an album."""


def assert_same_records(one: apsw.Connection, fresh: apsw.Connection) -> None:
    """A database knows of iCloud what one knows that has listed everything just now."""
    for table, columns in _RECORDS.items():
        here, there = _records(one, table, columns), _records(fresh, table, columns)
        assert here == there, (table, here ^ there)
    for table, columns in _LISTED_IN_PART.items():
        here, there = _records(one, table, columns), _records(fresh, table, columns)
        assert here >= there, (table, there - here)


def _records(connection: apsw.Connection, table: str, columns: str) -> set[tuple[Any, ...]]:
    of_row = ", ".join(f"t.{column.strip()}" for column in columns.split(","))
    join = "" if table == "zone" else "JOIN zone ON zone.id = t.zone"
    name = "t.name" if table == "zone" else "zone.name"
    rows = connection.execute(f"SELECT {name}, {of_row} FROM {table} t {join}").fetchall()
    found = {tuple(row) for row in rows}
    assert len(found) == len(rows), f"rows of {table} are there twice"
    return found


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


def is_automatic(truth: dict[str, Any], rendition: dict[str, Any]) -> bool:
    """A slow-motion video's rendition that the phone makes by itself is no file."""
    made = (rendition["rendition"], truth["adjustment"])
    return made == ("edited-video", "com.apple.video.slomo")


def assert_is_what_the_simulator_holds(client: Client, simulator: Simulator) -> None:
    """Every rendition of every photo is where it must be, with Apple's size and checksum."""
    expected: Counter[tuple[Any, ...]] = Counter()
    for zone in simulator.cloud.zones():
        if not zone.photos:
            continue
        for asset in zone.assets():
            truth = manifest.entry(zone, asset, [])
            for rendition in truth["renditions"]:
                if is_automatic(truth, rendition):
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
    assert found == expected, (found - expected, expected - found)


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
    """The same as the simulator has it, for members that are in sight, of whatever library."""
    found: Counter[tuple[str, str]] = Counter()
    for album in manifest.albums(simulator.cloud):
        zone = simulator.cloud.zone(album["zone"])
        if album["kind"] == 0:
            path = "/".join(names.sanitise(title) for title in album["path"])
            for _, member in simulator.cloud.members(zone, album["album"]):
                found[path, member.name] += 1
    return found
