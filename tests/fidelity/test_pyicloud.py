"""pyicloud, as PyPI has it, signs in, lists and downloads what icloudfs has in its mount.

What it says and what the mount shows must be equal, or a table below must say why they are not. An entry
of a table that explains nothing fails as well: then what it excuses is no longer true.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from icloudfs.apple.checksum import of as checksum_of
from tests.fidelity.differences import (
    NAMING_RULE,
    Difference,
    Finding,
    Json,
    Snapshot,
    Step,
    assert_explained,
    assert_named,
    split,
)
from tests.fidelity.mounted import (
    ALTERNATE,
    EDITED,
    EDITED_LIVE,
    EDITED_VIDEO,
    LIVE,
    ORIGINAL,
    Mounted,
    Shown,
)
from tests.scratch import Scratch
from tests.whole.library import Library
from tests.whole.local_icloud import LocalICloud

PROGRAM = Path(__file__).with_name("pyicloud_client.py")
WRONG_CODE = "000000"

RENDITIONS = {"original": ORIGINAL, "alternative": ALTERNATE, "original_video": LIVE}
"""pyicloud's word for a version, and the mount's. What is not here is a preview."""

VIEWS = {"Library": "Library", "Live": "Live Photos"} | {
    name: name
    for name in (
        "Time-lapse",
        "Videos",
        "Slo-mo",
        "Bursts",
        "Favorites",
        "Panoramas",
        "Screenshots",
        "Recently Deleted",
        "Hidden",
    )
}
"""pyicloud's smart albums of the personal library, and the directories that are the same."""
SHARED_VIEWS = {"Library": "Shared Library", "Favorites": "Favorites"}

PRIMARY = "PrimarySync"


# -- running it ------------------------------------------------------------------------------------


class PyICloud:
    """pyicloud with a folder of its own for the session, in the clients' environment."""

    def __init__(
        self, clients: Path, scratch: Scratch, icloud: LocalICloud, doors: Mapping[str, str]
    ) -> None:
        self._python = clients / "bin" / "python"
        self._scratch = scratch
        self._account = icloud.account
        self._doors = dict(doors)
        self.folder = scratch.folder / "pyicloud"
        self.folder.mkdir(exist_ok=True)

    def run(self, command: str, *arguments: str | Path, folder: Path | None = None) -> Json:
        """One process; what it printed."""
        account = (self._account.apple_id, self._account.password)
        done = self._scratch.run(
            self._python,
            PROGRAM,
            command,
            folder or self.folder,
            *account,
            *arguments,
            environment=self._doors,
        )
        printed: Json = json.loads(done.stdout)
        return printed


@dataclass(frozen=True)
class SignedIn:
    """The first run, and the calls it made."""

    told: Json
    calls: list[Json]


@dataclass(frozen=True)
class Listed:
    """The second run, the calls it made, and the mount at that moment."""

    told: Json
    calls: list[Json]
    mount: Snapshot

    def albums(self) -> Iterator[tuple[str, Json]]:
        """Each with the name of its library's zone."""
        for key, library in self.told["libraries"].items():
            zone = PRIMARY if key == "root" else key.removeprefix("shared:")
            yield from ((zone, album) for album in library["albums"])

    def photos(self) -> dict[str, Json]:
        """By asset. A photo in several albums is the same in each, or this fails."""
        found: dict[str, Json] = {}
        for _, album in self.albums():
            for photo in album["photos"]:
                assert found.setdefault(photo["asset"], photo) == photo
        return found


@pytest.fixture(scope="module")
def pyicloud(
    clients: Path, common_scratch: Scratch, _common_icloud: LocalICloud, doors: dict[str, str]
) -> PyICloud:
    return PyICloud(clients, common_scratch, _common_icloud, doors)


@pytest.fixture(scope="module")
def signed_in(pyicloud: PyICloud, _common_icloud: LocalICloud) -> SignedIn:
    _common_icloud.control.reset_traffic()
    told = pyicloud.run("sign-in", WRONG_CODE, _common_icloud.account.code)
    return SignedIn(told, _common_icloud.calls())


@pytest.fixture(scope="module")
def listed(
    pyicloud: PyICloud, signed_in: SignedIn, _common_icloud: LocalICloud, _common_library: Library
) -> Listed:
    _common_library.sync()
    snapshot = Snapshot(Mounted(_common_library))
    _common_icloud.control.reset_traffic()
    told = pyicloud.run("show")
    return Listed(told, _common_icloud.calls(), snapshot)


# -- signing in ------------------------------------------------------------------------------------


def _codes_given(calls: list[Json]) -> list[int]:
    """The answers to what was given as a code."""
    return [call["status"] for call in calls if call["path"].endswith("/securitycode")]


def test_a_wrong_code_is_refused_and_the_right_one_accepted(
    signed_in: SignedIn, icloud: LocalICloud
) -> None:
    assert signed_in.told == {
        "second_factor": True,
        "codes": [
            {"code": WRONG_CODE, "accepted": False},
            {"code": icloud.account.code, "accepted": True},
        ],
        "trusted": True,
    }
    assert _codes_given(signed_in.calls) == [400, 204]


def test_a_right_code_that_is_answered_409(pyicloud: PyICloud, icloud: LocalICloud) -> None:
    """As Apple does since the middle of 2026 (facts/sign-in.md §1.5)."""
    folder = pyicloud.folder / "conflict"
    icloud.control.switch(code_accepted_with_409=True)
    try:
        told = pyicloud.run("sign-in", WRONG_CODE, icloud.account.code, folder=folder)
    finally:
        icloud.control.switch(code_accepted_with_409=False)
    assert [answer["accepted"] for answer in told["codes"]] == [False, True]
    assert told["trusted"]
    assert _codes_given(icloud.calls()) == [400, 409]


def test_a_second_run_goes_on_with_the_kept_session(listed: Listed) -> None:
    assert not listed.told["second_factor"]
    assert listed.told["trusted"]
    assert not [call for call in listed.calls if call["kind"] == "signin"]
    assert [call["path"].rsplit("/", 1)[1] for call in listed.calls if call["kind"] == "setup"] == [
        "validate",
        "requestWebAccessState",
    ]
    assert {call["status"] for call in listed.calls} == {200}


# -- albums ----------------------------------------------------------------------------------------


def _titles(album: Json) -> list[str]:
    """From the outermost folder to the album; a title may have a slash of its own."""
    around = str(album["path"]).removesuffix(album["name"]).rstrip("/")
    return [*filter(None, around.split("/")), album["name"]]


def _assets(album: Json) -> set[str]:
    return {photo["asset"] for photo in album["photos"]}


def _differing_albums(listed: Listed) -> Iterator[Finding]:
    for zone, album in listed.albums():
        if album["kind"] != "SmartPhotoAlbum":
            directory = "/".join(["Albums", *_titles(album)])
            ours = listed.mount.members(directory)
            others = _of_other_libraries(listed, directory, zone)
            if others and ours == _assets(album) | others:
                yield Finding(directory, _assets(album), others)
            elif ours != _assets(album):
                same = [d for d in listed.mount.directories if _is_same(listed, d, album)]
                yield Finding(directory, _assets(album), same)


def _of_other_libraries(listed: Listed, directory: str, zone: str) -> frozenset[str]:
    return frozenset(
        shown.asset
        for shown in listed.mount.files
        if shown.directory == directory and shown.zone != zone
    )


def _is_same(listed: Listed, directory: str, album: Json) -> bool:
    return (
        directory.startswith("Albums/")
        and bool(album["photos"])
        and listed.mount.members(directory) == _assets(album)
    )


ALBUMS = (
    Difference(
        "photos of the shared library in own albums",
        lambda f: isinstance(f.ours, frozenset) and f.ours.isdisjoint(f.theirs),
        "pyicloud shows what the album's list gives, and no list gives these",
        "facts/cloudkit.md §1.12: 'only changes/zone of that zone tells it'",
    ),
    Difference(
        "a slash in a title",
        lambda f: f.ours == [f.about.replace("A/B", "A_B")],
        "no directory can be called so; icloudfs writes _, as in the names of photos",
        "facts/peers.md §3.2: invalid chars → _",
    ),
    Difference(
        "two albums of one name",
        lambda f: f.ours == [f"{f.about} (2)"],
        "pyicloud lists them by id; two directories need two names",
        "facts/peers.md §3.2 (two albums of one name in kei), §5 (in rclone)",
    ),
    Difference(
        "an album without photos",
        lambda f: f.theirs == set() and f.ours == [],
        "icloudfs has no directory that nothing is in; a smart album has no members in iCloud",
        "icloudfs/tree/directories.py _remove_if_empty; facts/cloudkit.md §1.8: albumType 6",
    ),
)


def test_albums_and_folders_are_directories_with_the_same_photos(listed: Listed) -> None:
    assert_explained(_differing_albums(listed), ALBUMS)


def test_nested_folders_are_nested(listed: Listed) -> None:
    paths = {"/".join(_titles(album)) for _, album in listed.albums()}

    assert {"Holidays/Europe/Italy 2023", "Holidays/Europe/Norway", "Holidays/Japan"} <= paths
    assert listed.mount.members("Albums/Holidays/Europe/Norway")


def test_every_directory_of_an_album_is_one(listed: Listed) -> None:
    """None is shown that pyicloud has no album for: as many of either with photos in them."""
    theirs = [a for _, a in listed.albums() if a["kind"] == "PhotoAlbum" and a["photos"]]
    ours = [
        members - _of_other_libraries(listed, directory, PRIMARY)
        for directory in listed.mount.directories
        if directory.startswith("Albums/") and (members := listed.mount.members(directory))
    ]

    assert sorted(map(sorted, map(_assets, theirs))) == sorted(
        sorted(members) for members in ours if members
    )


def _differing_views(listed: Listed) -> Iterator[Finding]:
    """Smart albums and the mount's own directories, library by library."""
    views = {path.parts[0] for path in map(PurePosixPath, listed.mount.directories)} - {"Albums"}
    theirs: dict[str, dict[str, set[str]]] = defaultdict(dict)
    for zone, album in listed.albums():
        if album["kind"] == "SmartPhotoAlbum":
            named = VIEWS if zone == PRIMARY else SHARED_VIEWS
            theirs[zone][named[album["name"]]] = _assets(album)
    for zone, albums in theirs.items():
        for view in sorted(views | albums.keys()):
            ours = listed.mount.below(view, zone)
            if albums.get(view, set()) != ours:
                yield Finding(f"{zone}: {view}", albums.get(view), ours)


SMART_ALBUMS = (
    Difference(
        "smart albums that Apple's web database has no index for",
        lambda f: (
            f.theirs is None
            and f.about.startswith(PRIMARY)
            and f.about.split(": ")[1] in {"Recent", "Portrait", "Long Exposure", "Animated"}
        ),
        "icloudfs finds them by the photo's own fields, as rclone does",
        "facts/cloudkit.md §1.7: 'rclone also offers Portrait, Long Exposure, Animated'",
    ),
    Difference(
        "smart albums of a shared library",
        lambda f: (
            f.theirs is None
            and f.about.startswith("SharedSync-")
            and f.about.split(": ")[1] not in SHARED_VIEWS.values()
        ),
        "pyicloud supports Library and Favorites only; the mount sorts both libraries' photos",
        "pyicloud constants.SUPPORTED_SHARED_LIBRARY_SMART_ALBUMS; facts/peers.md §4.13",
    ),
)


def test_smart_albums_are_the_directories_at_the_top(listed: Listed) -> None:
    assert_explained(_differing_views(listed), SMART_ALBUMS)


# -- photos ----------------------------------------------------------------------------------------


def test_the_photos_are_the_same(listed: Listed) -> None:
    """Hidden ones, deleted ones and the frames of bursts included."""
    theirs, ours = listed.photos(), {shown.asset for shown in listed.mount.files}
    assert theirs.keys() == ours
    assert len(theirs) > 140


def test_every_album_has_as_many_photos_as_its_index_counts(listed: Listed) -> None:
    """Counting is a call of its own. It counts photos of the shared library, too (facts/cloudkit.md §1.12)."""
    albums = [(zone, album) for zone, album in listed.albums() if album["photos"]]

    assert len(albums) > 20
    for zone, album in albums:
        directory = "/".join(["Albums", *_titles(album)])
        own = album["kind"] != "SmartPhotoAlbum"
        others = _of_other_libraries(listed, directory, zone) if own else ()
        expected = len(album["photos"]) + len(others)
        assert (zone, album["path"], album["count"]) == (zone, album["path"], expected)


def test_the_history_of_the_library_ends_at_what_the_mount_shows(
    listed: Listed, pyicloud: PyICloud
) -> None:
    told = pyicloud.run("changes")

    last = {change["record"]: change for change in told["history"]}
    theirs = {name for name, change in last.items() if change["type"] == "CPLAsset"}
    assert theirs == {shown.asset for shown in listed.mount.files if shown.zone == PRIMARY}
    assert {change["kind"] for change in last.values()} == {"updated", "deleted"}
    assert told["since"] == []


def _differing_facts(listed: Listed) -> Iterator[Finding]:
    photos = listed.photos()
    for shown in listed.mount.files:
        photo = photos[shown.asset]
        created, added = photo["created"] // 1, photo["added_date"] // 1
        theirs = (photo["filename"], created, photo["master"])
        if theirs != (shown.original_name, shown.mtime, shown.master):
            yield Finding(str(shown.path), (*theirs, added), shown)


FACTS = (
    Difference(
        "a photo without a name",
        lambda f: (
            f.ours.original_name == ""
            and f.theirs[:3] == (f.ours.asset, f.ours.mtime, f.ours.master)
        ),
        "filenameEnc is missing: pyicloud makes a name of the asset's id",
        "facts/cloudkit.md §1.8: filenameEnc may be missing",
    ),
    Difference(
        "a photo without a date",
        lambda f: f.theirs == (f.ours.original_name, 0, f.ours.master, f.ours.mtime),
        "assetDate is missing: pyicloud says 1970; the mount says when it was added",
        "facts/peers.md §4.20: wrong and absurd dates; SEMANTICS Months: Unknown date",
    ),
)


def test_names_dates_and_masters_are_the_same(listed: Listed) -> None:
    """Dates to the second, which is all that a file's mtime has here."""
    assert_explained(_differing_facts(listed), FACTS)


def test_the_size_that_pyicloud_gives_is_that_of_the_original(listed: Listed) -> None:
    for asset, photo in listed.photos().items():
        assert {s.size for s in listed.mount.by_rendition[asset, ORIGINAL]} == {photo["size"]}


Content = tuple[str, int]
"""Checksum and size."""


def _differing_renditions(listed: Listed) -> Iterator[Finding]:
    theirs: dict[tuple[str, str], Content] = {
        (asset, RENDITIONS.get(key, key)): (version["checksum"], version["size"])
        for asset, photo in listed.photos().items()
        for key, version in photo["versions"].items()
    }
    ours: dict[tuple[str, str], Content] = {
        (shown.asset, shown.rendition): (shown.checksum, shown.size) for shown in listed.mount.files
    }
    for key in theirs.keys() | ours.keys():
        if theirs.get(key) != ours.get(key):
            yield Finding(key[1], theirs.get(key), ours.get(key))


PREVIEWS = {"medium", "thumb", "medium_image", "thumb_image", "medium_video", "thumb_video"}
RENDITION_DIFFERENCES = (
    Difference(
        "previews",
        lambda f: f.about in PREVIEWS and f.ours is None,
        "made by iCloud of what is there anyway; no file of the mount is one, and rclone has none",
        "facts/peers.md §5: 'No thumbnails/medium sizes'",
    ),
    Difference(
        "edited photos",
        lambda f: f.about == EDITED and f.theirs is None,
        "pyicloud looks for versions in the master; an edit is on the asset (resJPEGFull)",
        "facts/cloudkit.md §1.7 edit; facts/peers.md §4.15: pyicloud#323",
    ),
    Difference(
        "edited movies",
        lambda f: f.about == EDITED_VIDEO and f.theirs is None,
        "the same: resVidFull is on the asset",
        "facts/cloudkit.md §1.7 edit; facts/peers.md §4.15: pyicloud#323",
    ),
    Difference(
        "videos of edited live photos",
        lambda f: f.about == EDITED_LIVE and f.theirs is None,
        "the same: resVidCompl is on the asset",
        "facts/cloudkit.md §1.12",
    ),
)


def test_renditions_have_the_same_checksums_and_sizes(listed: Listed) -> None:
    assert_explained(_differing_renditions(listed), RENDITION_DIFFERENCES)


# -- names of files --------------------------------------------------------------------------------


def _invented(name: str, shown: Shown, snapshot: Snapshot) -> str:
    stem, extension = split(name)
    nameless = stem == shown.asset and re.fullmatch(r"Photo [a-z2-7]{7}", shown.path.stem)
    return shown.path.stem + extension if nameless else name


def _with_its_own_extension(name: str, shown: Shown, snapshot: Snapshot) -> str:
    """As iCloud calls it, if that has an extension."""
    own = shown.original_name
    has_one = re.search(r"\.[A-Za-z]{2,4}[. ]*$", own) is not None
    return own if shown.rendition == ORIGINAL and has_one else name


NAMES = (
    Step(
        "a photo without a name",
        _invented,
        "filenameEnc is missing: both make a name of the asset's id, in different ways",
        "facts/cloudkit.md §1.8: filenameEnc may be missing",
    ),
    Step(
        "pyicloud's own extensions",
        _with_its_own_extension,
        "pyicloud puts the type's extension, in capitals, in place of the name's own",
        "facts/cloudkit.md §1.8 UTI → extension maps; pyicloud mappers.build_photo_resource",
    ),
    *NAMING_RULE,
)


def _named_files(listed: Listed) -> Iterator[tuple[str, Shown]]:
    """Every file at every place, with pyicloud's name for it."""
    words = {ours: theirs for theirs, ours in RENDITIONS.items()}
    photos = listed.photos()
    for shown in listed.mount.files:
        if shown.rendition in words:
            version = photos[shown.asset]["versions"][words[shown.rendition]]
            yield version["filename"], shown


def test_names_follow_from_pyicloud_s_by_the_naming_rule(listed: Listed) -> None:
    assert_named(_named_files(listed), NAMES, listed.mount)


# -- bytes -----------------------------------------------------------------------------------------


def test_every_downloaded_byte_is_the_mount_s(
    listed: Listed, pyicloud: PyICloud, common_scratch: Scratch
) -> None:
    target = common_scratch.folder / "pyicloud-downloads"
    target.mkdir()

    told = pyicloud.run("download", target)

    assert not told["second_factor"]
    theirs = {
        (one["asset"], RENDITIONS[one["version"]]): _sha256(Path(one["path"]))
        for one in told["files"]
    }
    ours = {
        (shown.asset, shown.rendition): listed.mount.sha256[shown.inode]
        for shown in listed.mount.files
        if shown.rendition in RENDITIONS.values()
    }
    assert theirs == ours


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- shared albums ---------------------------------------------------------------------------------


def test_shared_albums_are_zones_to_pyicloud_and_not_in_the_mount(
    listed: Listed, _common_icloud: LocalICloud
) -> None:
    """icloudfs shows none of them yet. pyicloud takes each for a library, and no list of one works."""
    albums = {
        one["album"] if one["area"] == "private" else f"shared:{one['album']}"
        for one in _common_icloud.control.shared_albums()
        if one["kind"] == "modern"
    }
    assert albums
    assert albums <= set(listed.told["others"])
    assert not any("SharedCollection" in shown.zone for shown in listed.mount.files)


def test_older_shared_albums_are_what_the_local_icloud_holds(
    pyicloud: PyICloud,
    signed_in: SignedIn,
    _common_icloud: LocalICloud,
    common_scratch: Scratch,
) -> None:
    target = common_scratch.folder / "pyicloud-shared-albums"
    target.mkdir()

    told = pyicloud.run("shared-albums", target)

    theirs = {
        one["album"]: (
            one["name"],
            one["sharing"] == "owned",
            one["count"],
            {f["asset"]: checksum_of(Path(f["path"]).read_bytes()) for f in one["files"]},
        )
        for one in told["albums"]
    }
    ours = {
        one["album"]: (
            one["title"],
            one["mine"],
            len(one["photos"]),
            {p["asset"]: p["renditions"][0]["checksum"] for p in one["photos"]},
        )
        for one in _common_icloud.control.shared_albums()
        if one["kind"] == "legacy"
    }
    assert theirs == ours
    assert theirs
