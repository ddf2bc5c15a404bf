"""icloudpd, as PyPI has it, lists and downloads what icloudfs has in its mount.

It writes files, so files are compared: each one that it wrote is one of the mount by its bytes, and then
name, month, date and size must be equal, or a table below must say why they are not.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fidelity.differences import (
    NAMING_RULE,
    Difference,
    Finding,
    Snapshot,
    Step,
    assert_explained,
    assert_named,
)
from tests.fidelity.icloudpd import BY_SECOND, ICloudPD, Order
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
from tests.fidelity.test_pyicloud import PyICloud
from tests.scratch import Scratch
from tests.whole.library import Library
from tests.whole.local_icloud import LocalICloud

Json = dict[str, Any]
Calls = list[Json]

VIEWS = {"Live": "Live Photos"} | {
    name: name
    for name in (
        "Time-lapse",
        "Videos",
        "Slo-mo",
        "Bursts",
        "Panoramas",
        "Screenshots",
        "Recently Deleted",
        "Hidden",
    )
}
"""icloudpd's smart albums, and the directories that are the same. Favorites: see ALBUMS."""

APART = ("Bursts", "Hidden", "Recently Deleted")
"""Albums that are no part of "the whole collection"."""


# -- running it ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wrote:
    """One file that icloudpd wrote, and what the mount has of its content."""

    view: str
    """The directory at the top of the mount that it is to be compared with."""
    folder: str
    """Below the folder that it was told to write to."""
    name: str
    size: int
    mtime: float
    sha256: str
    twins: tuple[Shown, ...]
    """The same bytes in that view. Several, if photos share them."""


@dataclass(frozen=True)
class Downloaded:
    """A download of everything, the calls it took, and the mount at that moment."""

    said: str
    calls: Calls
    files: list[Wrote]
    leftovers: list[Path]
    mount: Snapshot
    manifest: dict[str, Json]


@pytest.fixture(scope="module")
def icloudpd(
    clients: Path, common_scratch: Scratch, _common_icloud: LocalICloud, doors: dict[str, str]
) -> ICloudPD:
    """Trusted, as after a code; pyicloud entered it, which makes the same calls."""
    account = _common_icloud.account
    other = PyICloud(clients, common_scratch, _common_icloud, doors)
    folder = other.folder / "for-icloudpd"
    assert other.run("sign-in", account.code, folder=folder)["trusted"]
    (session,) = folder.glob("*.session")
    program = ICloudPD(clients, common_scratch, account, doors, "icloudpd")
    program.trust(json.loads(session.read_text())["trust_token"])
    return program


@pytest.fixture(scope="module")
def first_run(icloudpd: ICloudPD, _common_icloud: LocalICloud) -> tuple[list[str], Calls]:
    """The albums it lists, and the calls that took."""
    _common_icloud.control.reset_traffic()
    return icloudpd.albums(), _common_icloud.calls()


@pytest.fixture(scope="module")
def second_run(
    icloudpd: ICloudPD, first_run: tuple[list[str], Calls], _common_icloud: LocalICloud
) -> tuple[list[str], Calls]:
    """The libraries it lists, and the calls that took."""
    _common_icloud.control.reset_traffic()
    return icloudpd.libraries(), _common_icloud.calls()


@pytest.fixture(scope="module")
def snapshot(_common_library: Library) -> Snapshot:
    _common_library.sync()
    return Snapshot(Mounted(_common_library))


@pytest.fixture(scope="module")
def downloaded(
    icloudpd: ICloudPD,
    second_run: tuple[list[str], Calls],
    snapshot: Snapshot,
    common_scratch: Scratch,
    _common_icloud: LocalICloud,
) -> Downloaded:
    (shared,) = (name for name in second_run[0] if name.startswith("SharedSync-"))
    base = common_scratch.folder / "icloudpd-downloads"
    orders = [
        Order(base / "Library"),
        Order(base / "Shared Library", ["--library", shared]),
        *(Order(base / name, ["--album", name]) for name in APART),
    ]
    _common_icloud.control.reset_traffic()
    said = icloudpd.download(orders)
    calls = _common_icloud.calls()
    written = [path for path in sorted(base.rglob("*")) if path.is_file()]
    return Downloaded(
        said,
        calls,
        [_wrote(path, base, snapshot) for path in written if path.suffix != ".part"],
        [path for path in written if path.suffix == ".part"],
        snapshot,
        {entry["asset"]: entry for entry in _common_icloud.manifest()},
    )


def _wrote(path: Path, base: Path, snapshot: Snapshot) -> Wrote:
    view, *folders = path.relative_to(base).parts[:-1]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    status = path.stat()
    return Wrote(
        view=view,
        folder="/".join(folders),
        name=path.name,
        size=status.st_size,
        mtime=status.st_mtime,
        sha256=digest,
        twins=tuple(
            shown
            for shown in snapshot.files
            if shown.view == view and snapshot.sha256[shown.inode] == digest
        ),
    )


# -- signing in ------------------------------------------------------------------------------------


def _steps(calls: Calls, *kinds: str) -> list[tuple[str, int]]:
    """Last word of the path, and the status."""
    return [(c["path"].rsplit("/", 1)[1], c["status"]) for c in calls if c["kind"] in kinds]


def test_a_trusted_session_signs_in_without_a_code(first_run: tuple[list[str], Calls]) -> None:
    steps = _steps(first_run[1], "signin", "setup")
    assert steps[-3:] == [("init", 200), ("complete", 200), ("accountLogin", 200)]
    assert not [step for step, _ in steps if step in ("securitycode", "trust", "phone")]


def test_a_second_run_only_validates(second_run: tuple[list[str], Calls]) -> None:
    assert _steps(second_run[1], "signin", "setup") == [("validate", 200)]


def test_an_account_without_a_second_factor(clients: Path, common_scratch: Scratch) -> None:
    authority = common_scratch.folder / "authority-of-the-other.pem"
    options = ("--no-two-factor", "--proxy-port", "0", "--ca-file", str(authority))
    icloud = LocalICloud(common_scratch, *options, assets=20)
    try:
        doors = {"HTTPS_PROXY": icloud.proxy_url, "REQUESTS_CA_BUNDLE": str(authority)}
        other = ICloudPD(clients, common_scratch, icloud.account, doors, "icloudpd-one-factor")

        assert "Everything" in other.albums()
        assert _steps(icloud.calls(), "signin", "setup") == [
            ("init", 200),
            ("complete", 412),
            ("complete", 200),
            ("accountLogin", 200),
        ]
    finally:
        icloud.stop()


# -- libraries -------------------------------------------------------------------------------------


def _differing_libraries(theirs: list[str], snapshot: Snapshot) -> Iterator[Finding]:
    ours = {shown.zone for shown in snapshot.files}
    for name in set(theirs) ^ ours:
        yield Finding(name, name in theirs, name in ours)


LIBRARIES = (
    Difference(
        "links that somebody shared",
        lambda f: f.about.startswith("CMM-") and not f.ours,
        "a copy of some photos behind a link; kei and rclone skip them too",
        "facts/cloudkit.md §1.7 zones/list: CMM-<UUID> (share links, skip)",
    ),
    Difference(
        "zones of other programs",
        lambda f: f.about.startswith("AppLibrarySync-") and not f.ours,
        "no photo library",
        "facts/cloudkit.md §1.7 zones/list: AppLibrarySync-com.apple.GenerativePlayground",
    ),
    Difference(
        "shared albums",
        lambda f: f.about.startswith("SharedCollection-") and not f.ours,
        "zones of photos, and no library: icloudpd names them as one; icloudfs does not show them yet",
        "facts/cloudkit.md §1.13",
    ),
)


def test_libraries_are_those_of_the_mount(
    second_run: tuple[list[str], Calls], snapshot: Snapshot
) -> None:
    assert_explained(_differing_libraries(second_run[0], snapshot), LIBRARIES)


# -- albums ----------------------------------------------------------------------------------------

Key = tuple[str, str]
"""Second and stem of a photo's name, which tell it from all others but its own duplicates."""


@dataclass(frozen=True)
class Album:
    """One that icloudpd lists."""

    title: str
    photos: frozenset[Key]


@pytest.fixture(scope="module")
def albums(
    icloudpd: ICloudPD,
    first_run: tuple[list[str], Calls],
    snapshot: Snapshot,
    common_scratch: Scratch,
) -> list[Album]:
    """Every album with what icloudpd would fetch for it."""
    titles = first_run[0]
    base = common_scratch.folder / "icloudpd-albums"
    orders = [
        Order(base / str(number), ["--album", title], structure=BY_SECOND, sizes=["original"])
        for number, title in enumerate(titles)
    ]
    return [
        Album(title, frozenset(map(_key_of_path, paths)))
        for title, paths in zip(titles, icloudpd.would_download(orders), strict=True)
    ]


def _key_of_path(path: Path) -> Key:
    return path.parts[0], path.stem.removesuffix("_HEVC")


def _keys(shown: list[Shown], manifest: dict[str, Json]) -> frozenset[Key]:
    return frozenset((_second(manifest[one.asset]), _their_stem(one)) for one in shown)


def _second(entry: Json) -> str:
    """When it was taken, as the folder is called; 1970 for a photo without a date (see MONTHS)."""
    taken = datetime.fromtimestamp((entry["taken"] or 0) // 1000, UTC)
    return f"{taken:%Y-%m-%dT%H%M%S}"


def _their_stem(shown: Shown) -> str:
    """What icloudpd calls a photo: the beginning of the master's id if it has no name."""
    if not shown.original_name:
        return re.sub(r"[^0-9A-Za-z]", "_", shown.master)[:12]
    return _cleaned(shown)[0]


def _cleaned(shown: Shown) -> tuple[str, str]:
    """Stem and extension of what iCloud calls it; icloudpd writes _ for a slash, as icloudfs does."""
    return os.path.splitext(shown.original_name.replace("/", "_"))  # noqa: PTH122 — it is no path


def _ours(snapshot: Snapshot, manifest: dict[str, Json]) -> dict[str, frozenset[Key]]:
    """Every album's directory, and those at the top, of the personal library."""
    found: dict[str, list[Shown]] = defaultdict(list)
    for shown in snapshot.files:
        if shown.zone == "PrimarySync":
            in_album = shown.view == "Albums"
            found[shown.directory if in_album else shown.view].append(shown)
    return {directory: _keys(shown, manifest) for directory, shown in found.items()}


def _differing_albums(theirs: list[Album], ours: dict[str, frozenset[Key]]) -> Iterator[Finding]:
    left = ours.keys() - {"Library"}  # that is the whole collection: it is downloaded below
    for album in theirs:
        directory = VIEWS.get(album.title, f"Albums/{album.title}")
        if ours.get(directory, frozenset()) == album.photos:
            left -= {directory}
        else:
            same = {d for d, photos in ours.items() if photos == album.photos}
            left -= same
            yield Finding(directory, album.photos, same)
    yield from (Finding(directory, None, ours) for directory in sorted(left))


ALBUMS = (
    Difference(
        "a slash in a title",
        lambda f: f.ours == {f.about.replace("A/B", "A_B")},
        "no directory can be called so; icloudfs writes _, as in the names of photos",
        "facts/peers.md §3.2: invalid chars → _",
    ),
    Difference(
        "the later of two albums of one name",
        lambda f: f.ours == {f"{f.about} (2)"},
        "icloudpd keeps albums by title, so the later takes the place of the earlier",
        "facts/peers.md §3.2 (the same in kei), §5 (in rclone)",
    ),
    Difference(
        "the earlier of two albums of one name",
        lambda f: f.theirs is None and f"{f.about} (2)" in f.ours,
        "the other side of it: icloudpd has lost this one",
        "facts/peers.md §3.2 (the same in kei), §5 (in rclone)",
    ),
    Difference(
        "a smart album with a namesake",
        lambda f: f.theirs is None and f.about == "Favorites" and "Albums/Favorites" in f.ours,
        "a person's album takes the place of the smart one of its title",
        "facts/peers.md §4.7: iCloudPhotoSync#55",
    ),
    Difference(
        "albums in folders",
        lambda f: f.theirs is None and f.about.startswith("Albums/") and f.about.count("/") > 1,
        "icloudpd does not ask for what is in a folder",
        "facts/real-clients.md §3.1: 'no subfolders'; facts/peers.md §4.9",
    ),
    Difference(
        "smart albums that Apple's web database has no index for",
        lambda f: (
            f.theirs is None and f.about in {"Recent", "Portrait", "Long Exposure", "Animated"}
        ),
        "icloudfs finds them by the photo's own fields, as rclone does",
        "facts/cloudkit.md §1.7: 'rclone also offers Portrait, Long Exposure, Animated'",
    ),
)


def test_albums_have_the_photos_of_their_directories(
    albums: list[Album], snapshot: Snapshot, icloud: LocalICloud
) -> None:
    manifest = {entry["asset"]: entry for entry in icloud.manifest()}
    assert_explained(_differing_albums(albums, _ours(snapshot, manifest)), ALBUMS)


# -- the files that it wrote -----------------------------------------------------------------------


def test_every_file_that_it_wrote_is_one_of_the_mount(downloaded: Downloaded) -> None:
    """By what is in it: icloudpd is not told to write EXIF dates, so it leaves bytes as they came."""
    strange = [f"{f.view}/{f.folder}/{f.name}" for f in downloaded.files if not f.twins]
    assert not strange
    assert {file.view for file in downloaded.files} == {"Library", "Shared Library", *APART}


def test_every_content_came_once_and_whole(downloaded: Downloaded) -> None:
    gets = [call for call in downloaded.calls if call["kind"] == "content"]

    assert {(call["range"], call["status"]) for call in gets} == {("bytes=0-", 206)}
    assert len(gets) == len(downloaded.files) + len(downloaded.leftovers)


def _differing_counts(downloaded: Downloaded) -> Iterator[Finding]:
    """Contents that the mount shows as more photos, or fewer, than icloudpd wrote files."""
    written = Counter((file.view, file.sha256) for file in downloaded.files)
    shown: dict[tuple[str, str], dict[str, Shown]] = defaultdict(dict)
    for one in downloaded.mount.files:
        if one.view in ("Library", "Shared Library", *APART):
            shown[one.view, downloaded.mount.sha256[one.inode]][one.asset] = one
    for key in written.keys() | shown.keys():
        ours = list(shown[key].values())
        if written[key] != len(ours):
            names = [str(one.path) for one in ours] or [
                file.name for file in downloaded.files if (file.view, file.sha256) == key
            ]
            yield Finding(", ".join(names), written[key], ours)


COUNTS = (
    Difference(
        "a photo and its duplicate",
        lambda f: (
            f.theirs == 1 and len(f.ours) == 2 and len({shown.master for shown in f.ours}) == 1
        ),
        "icloudpd pairs assets with masters by the master's id, and loses one of two",
        "facts/real-clients.md §3.5; facts/sign-in.md §0.3",
    ),
    Difference(
        "edited movies",
        lambda f: f.theirs == 0 and {shown.rendition for shown in f.ours} == {EDITED_VIDEO},
        "icloudpd's 'adjusted' is resJPEGFull; it does not look for resVidFull",
        "facts/cloudkit.md §1.7 edit; facts/peers.md §4.14 'edited MOV not edited', §4.15",
    ),
    Difference(
        "videos of edited live photos",
        lambda f: f.theirs == 0 and {shown.rendition for shown in f.ours} == {EDITED_LIVE},
        "icloudpd takes a live photo's video from the master; that of an edit is resVidComplRes on the"
        " asset",
        "facts/cloudkit.md §1.12",
    ),
    Difference(
        "names longer than a name may be",
        lambda f: f.theirs == 0 and all(len(s.original_name.encode()) > 255 for s in f.ours),
        "icloudpd fetches them and cannot write them; what it fetched stays as .part",
        "facts/peers.md §3.2: kei has a 255-byte limit, icloudpd none",
    ),
)


def test_it_wrote_every_file_of_the_mount(downloaded: Downloaded) -> None:
    """Live photos with their movies, RAW beside JPEG, and edits: all of which it was asked for."""
    assert_explained(_differing_counts(downloaded), COUNTS)
    written = {shown.rendition for file in downloaded.files for shown in file.twins}
    assert written == {ORIGINAL, LIVE, ALTERNATE, EDITED}


def test_what_it_could_not_name_had_the_right_bytes_too(downloaded: Downloaded) -> None:
    too_long = {
        downloaded.mount.sha256[shown.inode]
        for shown in downloaded.mount.files
        if len(shown.original_name.encode()) > 255
    }
    assert {
        hashlib.sha256(path.read_bytes()).hexdigest() for path in downloaded.leftovers
    } == too_long
    assert downloaded.said.count("Could not download") == len(too_long) == 2


def _differing_dates(downloaded: Downloaded) -> Iterator[Finding]:
    for file in downloaded.files:
        for shown in file.twins:
            if (file.mtime, file.size) != (shown.mtime, shown.size):
                taken = downloaded.manifest[shown.asset]["taken"]
                yield Finding(str(shown.path), (file.mtime, file.size), (taken, shown))


DATES = (
    Difference(
        "a photo without a date",
        lambda f: f.ours[0] is None and f.theirs == (0, f.ours[1].size),
        "assetDate is missing: icloudpd says 1970; the mount says when it was added",
        "facts/peers.md §4.20: wrong and absurd dates; SEMANTICS Attributes",
    ),
)


def test_sizes_and_dates_are_the_mount_s(downloaded: Downloaded) -> None:
    """icloudpd sets mtime to assetDate, as icloudfs does; neither looks into EXIF."""
    assert_explained(_differing_dates(downloaded), DATES)


def _differing_months(downloaded: Downloaded) -> Iterator[Finding]:
    for file in downloaded.files:
        for shown in file.twins:
            folder = shown.directory.removeprefix(f"{file.view}/")
            if file.view not in APART and file.folder != folder:
                entry = downloaded.manifest[shown.asset]
                yield Finding(str(shown.path), file.folder, (folder, entry))


def _month(entry: Json, offset: int) -> str:
    return f"{datetime.fromtimestamp(entry['taken'] / 1000 + offset, UTC):%Y/%Y-%m}"


MONTHS = (
    Difference(
        "photos without a date",
        lambda f: f.ours[1]["taken"] is None and f.ours[0] == "Unknown date",
        "assetDate is missing: icloudpd says 1970; the mount has a folder for these",
        "facts/peers.md §4.20: wrong and absurd dates; SEMANTICS Months",
    ),
    Difference(
        "the last and the first hours of a month",
        lambda f: (
            f.ours[0] == _month(f.ours[1], f.ours[1]["time_zone_offset"])
            and f.theirs == _month(f.ours[1], 0)
        ),
        "the mount's months are the photo's own time zone's, icloudpd's the machine's (here UTC)",
        "SEMANTICS Months; facts/cloudkit.md §1.8 timeZoneOffset",
    ),
)


def test_months_are_the_mount_s(downloaded: Downloaded) -> None:
    assert_explained(_differing_months(downloaded), MONTHS)


# -- names of files --------------------------------------------------------------------------------


def _invented(name: str, shown: Shown, snapshot: Snapshot) -> str:
    stem, extension = os.path.splitext(name)  # noqa: PTH122
    nameless = not shown.original_name and stem == _their_stem(shown)
    return shown.path.stem + extension if nameless else name


def _without_size(name: str, shown: Shown, snapshot: Snapshot) -> str:
    return name.replace(f"-{shown.size}.", ".") if shown.rendition == ORIGINAL else name


def _without_codec(name: str, shown: Shown, snapshot: Snapshot) -> str:
    return name.replace("_HEVC.MOV", ".MOV") if shown.rendition == LIVE else name


def _told_to_be_edited(name: str, shown: Shown, snapshot: Snapshot) -> str:
    if shown.rendition != EDITED:
        return name
    return re.sub(r"(-adjusted)?(\.JPG|\.HEIC)$", r"-edited\2", name)


def _with_its_own_extension(name: str, shown: Shown, snapshot: Snapshot) -> str:
    """As iCloud calls it, if that has an extension."""
    stem, own = _cleaned(shown)
    is_theirs = shown.rendition == ORIGINAL and os.path.splitext(name)[0] == stem  # noqa: PTH122
    return stem + own if own and is_theirs else name


NAMES = (
    Step(
        "a photo without a name",
        _invented,
        "filenameEnc is missing: icloudpd takes the master's id, icloudfs the asset's",
        "facts/cloudkit.md §1.8: filenameEnc may be missing",
    ),
    Step(
        "icloudpd's namesakes",
        _without_size,
        "icloudpd tells files of one name in one folder apart by their size",
        "facts/peers.md §3.2 name-size-dedup-with-suffix",
    ),
    Step(
        "movies of live photos",
        _without_codec,
        "icloudpd adds _HEVC; icloudfs and rclone do not",
        "facts/peers.md §3.2 Live MOV _HEVC.MOV suffix; §5 stem.MOV for Live",
    ),
    Step(
        "edited photos",
        _told_to_be_edited,
        "icloudpd adds -adjusted only where the names would be equal; icloudfs always says -edited",
        "facts/peers.md §5 stem-edited.ext; README, the tree",
    ),
    Step(
        "icloudpd's own extensions",
        _with_its_own_extension,
        "icloudpd puts the type's extension, in capitals, in place of the name's own",
        "facts/cloudkit.md §1.8 UTI → extension maps",
    ),
    *(
        step
        for step in NAMING_RULE
        if step.what
        not in (
            "longer than a name may be",  # icloudpd did not write those
            "namesakes in folders of one kind",  # Hidden and Recently Deleted have none
        )
    ),
)


def test_names_follow_from_icloudpd_s_by_the_naming_rule(downloaded: Downloaded) -> None:
    """Where photos share a content, by the name of the first: icloudpd wrote one of them."""
    pairs = [(file.name, file.twins[0]) for file in downloaded.files if file.twins]
    assert len(pairs) > 140
    assert_named(pairs, NAMES, downloaded.mount)
