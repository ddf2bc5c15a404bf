"""What must be true of the tree after every transaction, checked over the whole database.

The expectations are worked out anew from the records, in the plainest way, so that a mistake in
``placing`` is not repeated here.
"""

from __future__ import annotations

import re
import stat
from collections import Counter
from typing import Any

import apsw

from icloudfs.apple.records import ROOT_FOLDERS
from icloudfs.tree import layout, names
from icloudfs.tree.albums import MOST_DEEP
from icloudfs.tree.changes import Change, EntryAdded, EntryRemoved, InodeChanged
from icloudfs.tree.directory import ROOT
from icloudfs.tree.layout import Photo, View
from icloudfs.tree.numbers import FIRST_DIRECTORY
from icloudfs.tree.placing import read_photos

Snapshot = tuple[dict[tuple[int, bytes], int], dict[int, tuple[Any, ...]]]


def snapshot(connection: apsw.Connection) -> Snapshot:
    """Every entry, and every inode's attributes as ``stat`` and ``read`` show them."""
    entries = {
        (parent, name): ino
        for parent, name, ino in connection.execute("SELECT parent, name, ino FROM dirent")
    }
    inodes = {
        ino: tuple(rest)
        for ino, *rest in connection.execute(
            "SELECT ino, mode, size, mtime, ctime, nlink, checksum FROM inode"
        )
    }
    return entries, inodes


def check_changes(before: Snapshot, after: Snapshot, changes: list[Change]) -> None:
    """``changes`` is the difference of two snapshots: nothing more, nothing less, nothing twice."""
    was, now = set(before[0].items()), set(after[0].items())
    expected: Counter[Change] = Counter()
    expected.update(EntryRemoved(p, n, i) for (p, n), i in was - now)
    expected.update(EntryAdded(p, n, i) for (p, n), i in now - was)
    for ino in before[1].keys() & after[1].keys():
        old, new = before[1][ino], after[1][ino]
        if old != new:
            expected[InodeChanged(ino, content=old[-1] != new[-1])] += 1
    assert Counter(changes) == expected


def check(connection: apsw.Connection, views: frozenset[View], now: int) -> None:
    entries, inodes = snapshot(connection)
    _check_shape(entries, inodes)
    paths = _paths(entries)
    files = _files(connection)
    assert {i for i in inodes if i < FIRST_DIRECTORY and i != ROOT} == files.keys(), "orphans"
    assert {i for i in entries.values() if i < FIRST_DIRECTORY} <= files.keys()
    photos = read_photos(connection, _ids(connection))
    expected: dict[tuple[str, str, str], str] = {}
    for photo, zone in photos:
        _check_description(connection, photo)
        stem = layout.stem(photo)
        for file in layout.files(photo, stem):
            plain = names.file_name(stem, file.rendition, file.extension)
            for directory in _directories(connection, photo, zone, views, now):
                expected[photo.zone_name + "/" + photo.name, file.rendition, directory] = plain
    found = {
        (*files[ino], paths[parent]): name.decode()
        for (parent, name), ino in entries.items()
        if ino in files
    }
    assert found.keys() == expected.keys()
    for place, name in found.items():
        assert is_variant(name, expected[place]), (place, name, expected[place])
    _check_claims(connection, entries)


def is_variant(name: str, plain: str) -> bool:
    """Whether ``name`` is ``plain``, or that with a suffix before the rendition's mark."""
    name = re.sub(r"-live(?=[._])", "", name)  # of a movie that has another movie beside it
    if name == plain:
        return True
    stem, _, extension = plain.rpartition(".")
    return any(
        _is_suffixed(name, stem.removesuffix(mark), f"{mark}.{extension}")
        for mark in ("-edited", "-alt", "")
        if stem.endswith(mark)
    )


def _is_suffixed(name: str, head: str, tail: str) -> bool:
    start, _, suffix = name.removesuffix(tail).rpartition("_")
    cut = head.startswith(start) and len(name.encode()) > 200
    return name.endswith(tail) and len(suffix) >= names.SUFFIX_LENGTH and (start == head or cut)


def _check_shape(entries: dict[tuple[int, bytes], int], inodes: dict[int, Any]) -> None:
    links = Counter(entries.values())
    inside = Counter(parent for (parent, _), ino in entries.items() if ino >= FIRST_DIRECTORY)
    children = Counter(parent for parent, _ in entries)
    assert ROOT in inodes or not inodes
    assert set(entries.values()) <= inodes.keys(), "an entry leads nowhere"
    assert children.keys() <= inodes.keys(), "an entry lies nowhere"
    for ino, (mode, _, mtime, ctime, nlink, _) in inodes.items():
        if stat.S_ISDIR(mode):
            assert nlink == 2 + inside[ino], f"nlink of directory {ino:#x}"
            assert ino == ROOT or (links[ino] == 1 and children[ino] > 0), f"directory {ino:#x}"
            assert mtime >= 0 and ctime >= 0
        else:
            assert nlink == links[ino], f"nlink of {ino}"
            assert not children[ino]
    folded = Counter((parent, names.fold(name.decode())) for parent, name in entries)
    assert folded.most_common(1)[0][1] == 1 if folded else True, "names differ in case alone"


def _paths(entries: dict[tuple[int, bytes], int]) -> dict[int, str]:
    above = {ino: (p, n.decode()) for (p, n), ino in entries.items() if ino >= FIRST_DIRECTORY}
    paths = {ROOT: ""}
    for ino in above:
        names_up: list[str] = []
        at = ino
        while at != ROOT:
            assert len(names_up) < 100, "a directory contains itself"
            at, name = above[at]
            names_up.append(name)
        paths[ino] = "/".join(reversed(names_up))
    return paths


def _files(connection: apsw.Connection) -> dict[int, tuple[str, str]]:
    return {
        ino: (f"{zone}/{asset}", rendition)
        for ino, zone, asset, rendition in connection.execute(
            "SELECT i.ino, z.name, a.name, i.rendition FROM inode i JOIN asset a ON a.id = i.asset"
            " JOIN zone z ON z.id = a.zone"
        )
    }


def _ids(connection: apsw.Connection) -> list[int]:
    return [int(str(ident)) for (ident,) in connection.execute("SELECT id FROM asset")]


def _check_description(connection: apsw.Connection, photo: Photo) -> None:
    stem = layout.stem(photo)
    files = list(layout.files(photo, stem))
    order = ("original", "edited-video", "edited", "alternate", "preview")
    found = {str(f.rendition): f for f in files}
    best = next((found[rendition] for rendition in order if rendition in found), None)
    row = connection.execute(
        "SELECT checksum, filename FROM asset WHERE id = ?", (photo.id,)
    ).fetchall()[0]
    if best is None:
        assert row == ("", "")
    else:
        name = names.file_name(stem, best.rendition, best.extension)
        assert row[0] == best.content.checksum
        assert row[1] == (f"{stem.text}.{stem.extension}" if best.rendition == "original" else name)


def _directories(
    connection: apsw.Connection, photo: Photo, zone: int, views: frozenset[View], now: int
) -> set[str]:
    found: set[str] = set()
    if layout.is_visible(photo):
        home = layout.library(photo)
        if not photo.is_burst_reject:
            if home in views:
                found.add("/".join((home, *layout.month(photo))))
            if View.ALBUMS in views:
                found |= _albums(connection, photo, zone)
        if photo.burst and View.BURSTS in views:
            found.add(f"{View.BURSTS}/{layout.burst_directory(photo.burst)}")
    return found | {view for view in layout.smart_views(photo, now) if view in views}


def _albums(connection: apsw.Connection, photo: Photo, zone: int) -> set[str]:
    known = {
        (of, str(name)): (str(parent), bool(deleted), str(dirname), kind)
        for of, name, parent, deleted, dirname, kind in connection.execute(
            "SELECT zone, name, parent, deleted, dirname, kind FROM album"
        )
    }
    namesakes = [
        (other.hidden or other.deleted or other.expunged or other.is_burst_reject, there)
        for other, there in read_photos(connection, _named(connection, photo.name))
    ]
    found = set()
    for of, album in connection.execute(
        "SELECT zone, album FROM relation WHERE asset = ?", (photo.name,)
    ):
        # Of all photos of the name, one is in the album.
        if min((out, there != of, there) for out, there in namesakes)[2] != zone:
            continue
        at = str(album)
        path: list[str] = []
        if (of, at) not in known or known[of, at][3] != 0:
            continue
        while (
            (of, at) in known
            and len(path) <= MOST_DEEP
            and not known[of, at][1]
            and not _is_root(at)
        ):
            path.append(known[of, at][2])
            at = known[of, at][0]
        if _is_root(at):
            found.add("/".join((View.ALBUMS, *reversed(path))))
    return found


def _named(connection: apsw.Connection, name: str) -> list[int]:
    rows = connection.execute("SELECT id FROM asset WHERE name = ?", (name,))
    return [int(str(ident)) for (ident,) in rows]


def _is_root(album: str) -> bool:
    return album in ROOT_FOLDERS or album.startswith("----")


def _check_claims(connection: apsw.Connection, entries: dict[tuple[int, bytes], int]) -> None:
    """Whoever is called something in a month, an album or a folder has claimed it there."""
    claims = {
        (scope, key): owner
        for scope, key, owner in connection.execute("SELECT scope, key, owner FROM claim")
    }
    assets = dict(connection.execute("SELECT ino, asset FROM inode"))
    for (parent, name), ino in entries.items():
        key = names.fold(name.decode())
        owner = claims.get((parent, key), claims.get((0, key)))
        if ino < FIRST_DIRECTORY:
            assert owner is not None, f"{name!r} is nobody's"
            assert assets[ino] in (owner, claims.get((0, key)))
    living = {*_ids(connection)}
    assert {o for o in claims.values() if o < FIRST_DIRECTORY} <= living, "claims of the dead"
