"""The companion commands, beside a running mount and without one."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator

import pytest

from icloudfs import errors
from tests.scratch import Scratch
from tests.whole.library import Library, own_library
from tests.whole.local_icloud import LocalICloud


@pytest.fixture(params=["beside a mount", "alone"])
def somewhere(request: pytest.FixtureRequest, library: Library) -> Library:
    if request.param == "beside a mount":
        library.mount()
    return library


def test_sync_downloads_everything_once(somewhere: Library, icloud: LocalICloud) -> None:
    files = somewhere.status()["assets"]["files"]

    said = somewhere.icloudfs("sync").stdout
    assert "files downloaded" in said
    status = somewhere.status()
    assert status["assets"]["files"] == files
    assert status["cache"]["contents"] > 0
    newest = status["runs"][0]
    assert newest["assets_downloaded"] == status["cache"]["contents"]
    assert newest["assets_failed"] == 0

    icloud.control.reset_traffic()
    assert "downloaded" not in somewhere.icloudfs("sync").stdout
    assert icloud.control.traffic(log=False)["content_bytes"] == {}


def test_sync_mirrors_favorites_alone(somewhere: Library) -> None:
    somewhere.icloudfs("sync", "--mirror", "favorites")

    somewhere.end()
    somewhere.mount()
    favorites = {path.stat().st_ino for path in somewhere.files("Favorites")}
    assert somewhere.status()["cache"]["contents"] == len(favorites)


def test_sync_stops_at_the_limit_and_says_so(somewhere: Library) -> None:
    if somewhere.is_mounted:
        somewhere.unmount()
    limit = {"ICLOUDFS_CACHE_LIMIT": "1M"}

    done = somewhere.icloudfs("sync", environment=limit, check=False)

    assert done.returncode == errors.Incomplete.exit_code
    assert re.search(
        r"^\d+ files of \d+M are to be downloaded, but the cache limit of 1.0M has room for 1.0M:"
        " the newest that fit are downloaded.$",
        done.stderr,
        re.MULTILINE,
    )
    assert "files left out: there is no room for them" in done.stdout
    assert re.search(r"^  Library/.*\(.*M\)$", done.stdout, re.MULTILINE)
    assert 0 < somewhere.status()["cache"]["bytes"] <= 1 << 20


@pytest.fixture
def small(scratch: Scratch) -> Iterator[Library]:
    """An account of its own, to which photos may be added; listed, not mounted."""
    with own_library(scratch, assets=8) as library:
        yield library


def test_one_file_that_is_too_large_is_in_no_others_way(small: Library) -> None:
    """The newest of all, and larger than the limit."""
    library, icloud = small, small.icloud
    film = library.scratch.folder / "film.mov"
    film.write_bytes(os.urandom(3 << 20))
    now = int(time.time() * 1000)
    for kind, name, file in (
        ("jpeg", "small 1.JPG", ""),
        ("jpeg", "small 2.JPG", ""),
        ("video", "film.MOV", str(film)),
    ):
        icloud.control.phone("add_photo", kind=kind, filename=name, taken=now, file=file)
    newest = "sync", "--mirror", "newest", "--days", "1"

    done = library.icloudfs(*newest, environment={"ICLOUDFS_CACHE_LIMIT": "2M"}, check=False)

    assert done.returncode == errors.Incomplete.exit_code
    assert "\n2 files downloaded" in done.stdout
    month = time.strftime("%Y/%Y-%m", time.gmtime(now // 1000))
    left_out = "1 files left out: there is no room for them"
    assert f"{left_out}\n  Library/{month}/film.MOV (3.0M)\n" in done.stdout
    assert "1 files were left out: there is no room for them." in done.stderr
    again = library.icloudfs(*newest, environment={"ICLOUDFS_CACHE_LIMIT": "9M"})
    assert "1 files downloaded (3.0M)" in again.stdout


def test_sync_knows_no_such_album(somewhere: Library) -> None:
    done = somewhere.icloudfs("sync", "--mirror", "albums", "--album", "Nowhere")

    assert done.stderr == "There is no album 'Nowhere': nothing of it is downloaded.\n"
    assert "downloaded" not in done.stdout


@pytest.mark.parametrize("flag", ["--no-incremental", "--reset-sync-token"])
def test_sync_lists_anew_when_told(somewhere: Library, flag: str) -> None:
    before = somewhere.status()["assets"]

    somewhere.icloudfs("sync", "--mirror", "demand", flag)

    status = somewhere.status()
    assert status["assets"] == before
    assert "listing" in status["runs"][0]["kind"]
    assert all(zone["has_token"] for zone in status["zones"])


def test_retry_failed_lists_nothing(somewhere: Library, icloud: LocalICloud) -> None:
    icloud.control.set_fault("content", "flip")
    assert somewhere.icloudfs("sync", check=False).returncode == errors.Incomplete.exit_code
    failed = somewhere.status("--failed")
    assert failed["assets"]["failed"] > 0
    assert all("found" in row["last_error"] for row in failed["listed"])
    one = failed["listed"][0]["asset_id"]
    again = somewhere.icloudfs("retry-failed", one, check=False)
    assert again.returncode == errors.Incomplete.exit_code
    told = dict(line.split(": ", 1) for line in again.stderr.splitlines())
    assert any(told.get(f"  {path}") for path in failed["listed"][0]["paths"]), told
    icloud.control.clear_faults("content")

    assert "files fetched" in somewhere.icloudfs("retry-failed", one).stdout
    assert somewhere.status()["assets"]["failed"] < failed["assets"]["failed"]

    icloud.control.reset_traffic()
    somewhere.icloudfs("retry-failed")
    assert somewhere.status()["assets"]["failed"] == 0
    assert not any("query" in call for call in icloud.control.traffic(log=False)["endpoints"])


def test_verify_finds_and_mends(somewhere: Library) -> None:
    somewhere.icloudfs("sync")
    content = sorted(path for path in somewhere.cache.glob("*/content/*/*") if path.is_file())
    flipped, missing, other = content[:3]
    bad = bytearray(flipped.read_bytes())
    bad[len(bad) // 2] ^= 1
    flipped.chmod(0o600)
    flipped.write_bytes(bad)
    missing.unlink()
    other.chmod(0o600)
    other.write_bytes(bytes(other.stat().st_size))
    orphan = flipped.with_name("belongs-to-nothing")
    orphan.write_bytes(b"?")

    found = somewhere.icloudfs("verify", "--checksums", "--json", check=False)
    assert found.returncode == errors.Incomplete.exit_code
    result = json.loads(found.stdout)
    assert (result["corrupt"], result["missing"], result["orphans"]) == (2, 1, 1)

    looked = somewhere.icloudfs("verify", check=False)
    assert ": The file is gone.\n" in looked.stdout and "{" not in looked.stdout
    assert looked.stderr.endswith("  Mend it with: icloudfs verify --repair\n")

    mended = json.loads(somewhere.icloudfs("verify", "--checksums", "--repair", "--json").stdout)
    assert mended["ok"] and mended["repaired"] == 4
    assert not orphan.exists()
    again = json.loads(somewhere.icloudfs("verify", "--checksums", "--json").stdout)
    assert again["ok"] and again["verified"] == len(content)


def test_import_existing_uses_files_where_they_lie(somewhere: Library, icloud: LocalICloud) -> None:
    somewhere.end()
    somewhere.mount()
    mine = somewhere.scratch.folder / "mine"
    (mine / "deep").mkdir(parents=True)
    originals = [path for path in somewhere.files("Library") if path.suffix == ".JPG"][:3]
    for number, photo in enumerate(originals):
        shutil.copyfile(photo, mine / "deep" / f"renamed {number}.bin")
    (mine / "other.jpg").write_bytes(b"not a photo of the library")
    somewhere.icloudfs("cache", "evict")
    icloud.control.reset_traffic()

    result = json.loads(somewhere.icloudfs("import-existing", "-d", mine, "--json").stdout)
    assert (result["matched"], result["hashed"]) == (3, 3)
    assert result["unmatched"] == [str(mine / "other.jpg")]
    for photo in originals:
        assert photo.read_bytes() == somewhere.truth(photo)
    assert icloud.control.traffic(log=False)["content_bytes"] == {}

    again = json.loads(somewhere.icloudfs("import-existing", "-d", mine, "--json").stdout)
    assert (again["matched"], again["already"], again["hashed"]) == (0, 3, 0)


def test_reset_state_keeps_the_sign_in(library: Library) -> None:
    library.mount()
    refused = library.icloudfs("reset-state", "--yes", check=False)
    assert refused.returncode == errors.AlreadyRunning.exit_code
    library.unmount()

    library.icloudfs("reset-state", "--yes", "--cache")
    assert list(library.state.glob("*.db*")) == []
    assert library.status()["signed_in"]
    library.sync()
    assert library.status()["assets"]["total"] > 0


def test_doctor_says_what_is_wrong(library: Library) -> None:
    library.mount()
    looks = json.loads(library.icloudfs("doctor", "--json", check=False).stdout)
    here = str(library.mount_point)
    assert all(look["well"] for look in looks if look["about"] != "mount" or here in look["says"])
    assert any(here in look["says"] for look in looks)
    library.icloudfs("logout")
    sick = library.icloudfs("doctor", check=False)
    assert sick.returncode == errors.Incomplete.exit_code
    assert "mend it: icloudfs login" in sick.stdout


def test_list_counts_as_icloud_does(somewhere: Library, icloud: LocalICloud) -> None:
    albums = {row["name"]: row["photos"] for row in _listed(somewhere, "albums")}
    libraries = {row["name"]: row["photos"] for row in _listed(somewhere, "libraries")}

    counts = icloud.control.counts()
    assert libraries == {name: zone["assets"] for name, zone in counts.items()}
    assert "Holidays/Europe/Norway" in albums
    everything = next(a for a in icloud.control.albums() if a["path"] == ["Everything"])
    hidden = {e["asset"] for e in icloud.control.manifest() if e["hidden"] or e["deleted"]}
    assert albums["Everything"] == len(set(everything["members"]) - hidden)


def _listed(library: Library, what: str) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = json.loads(library.icloudfs("list", what, "--json").stdout)
    return listed
