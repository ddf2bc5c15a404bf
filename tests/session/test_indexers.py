"""Indexers read no more than the beginning of a photo, and nothing where they were told to stay away."""

from __future__ import annotations

import time

from PIL import Image

from tests.filemanagers.album import Album
from tests.filemanagers.person import Person
from tests.filemanagers.photos import Photos
from tests.filemanagers.traffic import contents_sent, sent
from tests.scratch import wait_until
from tests.session.conftest import Begin

_STILL = 12.0
"""Seconds without a byte after which an indexer has done what it had to do; it rests between batches."""
_LONGEST = 240.0
_HEAD = 128 << 10
_SOME = 20

_TRACKER = """
[org/freedesktop/tracker/miner/files]
index-recursive-directories=['{folder}']
index-single-directories=@as []
initial-sleep=0
"""
_BALOO = """
[Basic Settings]
Indexing-Enabled=true

[General]
folders[$e]={folder}/
only basic indexing=false
"""


def _when_at_rest(photos: Photos, notes: list[str], what: str) -> int:
    """Bytes of originals that were sent until nothing more came for a while."""
    begun = time.monotonic()
    reached, changed = -1, begun
    while time.monotonic() - changed < _STILL:
        assert time.monotonic() - begun < _LONGEST, f"{what} never comes to rest: {reached} bytes"
        time.sleep(1)
        now = contents_sent(photos.icloud)
        if now != reached:
            reached, changed = now, time.monotonic()
    of_all = sent(photos.icloud)
    notes.append(f"{what}: {of_all}")
    return of_all.originals


def test_tracker_does_not_go_into_the_mount(begin: Begin, notes: list[str]) -> None:
    """Also if the folder that it lies in is to be indexed, and is."""
    photos = begin("tracker")
    person = photos.person
    own = person.folder("Pictures") / "own.jpg"
    Image.new("RGB", (40, 30)).save(own)
    keyfile = ".config/glib-2.0/settings/keyfile"
    settings = (person.home / keyfile).read_text() + _TRACKER.format(folder=person.home)
    person.write(keyfile, settings)
    photos.icloudfs("mount", photos.mount_point)
    photos.icloud.control.reset_traffic()

    person.start("/usr/libexec/tracker-miner-fs-3")
    known = "SELECT ?u { GRAPH tracker:Pictures { ?p nie:isStoredAs ?u } }"
    query = (
        "tracker3",
        "sparql",
        "--dbus-service=org.freedesktop.Tracker3.Miner.Files",
        "-q",
        known,
    )
    wait_until(lambda: "own.jpg" in person.run(*query, check=False).stdout, 60)
    originals = _when_at_rest(photos, notes, "Tracker, for the folder in which the mount lies")
    person.end_processes_of("tracker")
    photos.unmount()

    assert originals == 0


def test_what_tracker_reads_of_a_photo(begin: Begin, many: Album, notes: list[str]) -> None:
    photos = begin("tracker-extract")
    photos.icloudfs("mount", photos.mount_point)
    folder = photos.folder_of(many)
    some = [folder / name for name in photos.person.run("ls", folder).stdout.splitlines()[:_SOME]]
    photos.icloud.control.reset_traffic()

    for photo in some:
        assert "nfo:" in photos.person.run("tracker3", "extract", photo).stdout
    originals = sent(photos.icloud).originals
    notes.append(f"tracker3 extract, {_SOME} photos: {originals / _SOME / 1024:.1f} KiB each")
    photos.unmount()

    assert 0 < originals <= _SOME * _HEAD


def test_what_baloo_reads_of_a_photo(begin: Begin, many: Album, notes: list[str]) -> None:
    photos = begin("baloo")
    photos.person.write(".config/baloofilerc", _BALOO.format(folder=photos.folder_of(many)))
    photos.icloudfs("mount", photos.mount_point)
    photos.icloud.control.reset_traffic()

    photos.person.start("baloo_file")
    originals = _when_at_rest(photos, notes, f"Baloo, for {len(many.scenes())} photos")
    indexed = _indexed_by_baloo(photos.person)
    photos.person.end_processes_of("baloo")
    photos.unmount()

    assert indexed >= len(many.scenes())
    assert 0 < originals <= len(many.scenes()) * _HEAD


def test_baloo_stays_away_from_the_mount(begin: Begin, notes: list[str]) -> None:
    photos = begin("no-baloo")
    person = photos.person
    Image.new("RGB", (40, 30)).save(person.folder("Pictures") / "own.jpg")
    person.write(".config/baloofilerc", _BALOO.format(folder=person.home))
    photos.icloudfs("mount", photos.mount_point)
    photos.icloudfs("desktop", "install", photos.mount_point)
    photos.icloud.control.reset_traffic()

    person.start("baloo_file")
    originals = _when_at_rest(photos, notes, "Baloo, for the folder in which the mount lies")
    indexed = _indexed_by_baloo(person)
    person.end_processes_of("baloo")
    photos.unmount()

    assert 0 < indexed < 50
    assert originals == 0


def _indexed_by_baloo(person: Person) -> int:
    """Files and folders."""
    status = person.run("balooctl", "status").stdout
    (line,) = (line for line in status.splitlines() if line.startswith("Total files indexed"))
    return int(line.partition(":")[2].replace(",", ""))
