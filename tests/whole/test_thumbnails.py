"""Looking at a folder shows small pictures, and downloads no photo."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from icloudfs.desktop import thumbnailer
from icloudfs.desktop.uris import entry, uris
from tests import kio
from tests.kio import Worker
from tests.scratch import Scratch, wait_until
from tests.whole.library import ALL_VIEWS, MAY_2020, Library, asset_of, checksum_of
from tests.whole.local_icloud import LocalICloud

THUMBNAIL = "user.icloudfs.thumbnail"
FOLDER = "Library/2020/2020-05"
KINDS = ("jpeg", "heic", "video", "dng", "turned", "live", "raw+jpeg", "png")
"""What is in it, three times each; the first is edited."""


@pytest.fixture
def own_icloud(scratch: Scratch) -> Iterator[LocalICloud]:
    icloud = LocalICloud(scratch, "--no-two-factor", assets=30)
    phone = icloud.control.phone
    for number in range(24):
        kind = KINDS[number % len(KINDS)]
        name = f"{kind.upper()} {number} [a]"
        asset = phone("add_photo", kind=kind, taken=MAY_2020 + number, filename=name)["asset"]
        if number == 0:
            phone("edit", asset=asset)
    yield icloud
    icloud.stop()


@pytest.fixture
def home(own_icloud: LocalICloud, scratch: Scratch) -> Iterator[Library]:
    """Signed in and listed, with small pictures switched on."""
    library = Library(own_icloud, scratch)
    library.environment["ICLOUDFS_THUMBNAILS"] = "true"
    library.login()
    library.sync()
    own_icloud.control.reset_traffic()
    yield library
    library.end()


def originals_sent(library: Library) -> int:
    """Bytes of whatever is a file in the mount."""
    sent = library.icloud.control.traffic(log=False)["content_bytes"]
    return sum(sent.get(checksum_of(path), 0) for path in library.files())


def shown(path: Path) -> Image.Image:
    image = Image.open(io.BytesIO(os.getxattr(path, THUMBNAIL)))
    image.load()
    return image


def test_every_photo_and_video_has_one_as_an_attribute(home: Library) -> None:
    home.mount(views=ALL_VIEWS)
    files = list(home.files(FOLDER))
    assert len(files) > 24
    assert {path.suffix for path in files} >= {".JPG", ".HEIC", ".MOV", ".DNG", ".PNG"}
    assert any("-edited" in path.name for path in files)

    for path in files:
        assert shown(path).format == "JPEG"
        assert len(os.getxattr(path, THUMBNAIL)) <= 64 << 10
        assert THUMBNAIL not in os.listxattr(path)

    assert originals_sent(home) == 0
    assert home.cached_files() == []


def test_a_thumbnailer_uses_it(home: Library, scratch: Scratch) -> None:
    """The program that ``desktop install`` puts below /usr, as file managers start it."""
    home.mount()
    for path in home.files(FOLDER):
        target = scratch.folder / "thumbnail.png"
        scratch.run("/usr/bin/python3", "-I", thumbnailer.__file__, "128", path, target)
        image = Image.open(target)
        assert image.format == "PNG" and max(image.size) == 128
        target.unlink()
    assert originals_sent(home) == 0


def test_a_thumbnailer_does_not_read_the_photo_instead(
    home: Library, own_icloud: LocalICloud, scratch: Scratch
) -> None:
    home.mount()
    photo = next(path for path in home.files(FOLDER) if path.suffix == ".JPG")
    own_icloud.control.set_fault("content", "flip")
    target = scratch.folder / "thumbnail.png"
    command = ("/usr/bin/python3", "-I", thumbnailer.__file__, "128", photo, target)
    assert scratch.run(*command, check=False).returncode == 1
    assert originals_sent(home) == 0 and not target.exists()


def test_a_thumbnailer_leaves_other_files_to_others(scratch: Scratch) -> None:
    local, target = scratch.folder / "local.jpg", scratch.folder / "thumbnail.png"
    Image.new("RGB", (400, 300)).save(local)
    scratch.run("/usr/bin/python3", "-I", thumbnailer.__file__, "128", local, target)
    assert Image.open(target).size == (128, 96)


def test_the_right_way_up(home: Library) -> None:
    home.mount()
    for path in home.files(FOLDER):
        picture = shown(path)
        standing = path.name.startswith(("TURNED", "PNG"))
        assert (picture.height > picture.width) == standing, path


def test_without_a_network_what_is_kept_is_there_and_the_rest_is_not(
    home: Library, own_icloud: LocalICloud
) -> None:
    home.mount()
    kept, other = [path for path in home.files("Library") if path.suffix == ".JPG"][:2]
    picture = os.getxattr(kept, THUMBNAIL)
    own_icloud.stop()
    assert os.getxattr(kept, THUMBNAIL) == picture
    with pytest.raises(OSError) as caught:
        os.getxattr(other, THUMBNAIL)
    assert caught.value.errno == errno.ENODATA
    own_icloud.start()


def test_switched_off_there_are_none(home: Library, own_icloud: LocalICloud) -> None:
    home.mount("--no-thumbnails")
    path = next(iter(home.files("Library")))
    with pytest.raises(OSError) as caught:
        os.getxattr(path, THUMBNAIL)
    assert caught.value.errno == errno.ENODATA
    assert own_icloud.calls(kind="content") == []
    assert checksum_of(path)


# -- seeds: thumbnails in the desktop's own cache ------------------------------------------------------


def look_into(library: Library) -> None:
    assert len(list((library.mount_point / FOLDER).iterdir())) > 24


def seeds_of(library: Library, path: Path, size: str = "normal") -> list[Path]:
    """Where thumbnails of a file are looked for."""
    thumbnails = library.scratch.folder / ".cache" / "thumbnails"
    return [thumbnails / size / entry(uri) for uri in uris(os.fsencode(path))]


def all_seeded(library: Library, files: list[Path]) -> bool:
    return all(seed.exists() for path in files for seed in seeds_of(library, path, "large"))


def everything_in(library: Library, suffix: str = "*.png") -> list[Path]:
    return list((library.scratch.folder / ".cache" / "thumbnails").rglob(suffix))


def picture_of(library: Library, path: Path) -> bytes:
    """The pixels of its seed; nothing while it has none that is of the file as it is."""
    try:
        image = Image.open(seeds_of(library, path)[0])
    except FileNotFoundError:
        return b""
    said = image.info["Thumb::MTime"], image.info["Thumb::Size"]
    if said != (str(int(path.stat().st_mtime)), str(path.stat().st_size)):
        return b""
    return image.convert("RGB").tobytes()


def test_opening_a_folder_seeds_it_without_reading_a_photo(home: Library) -> None:
    home.mount()
    files = list(home.files(FOLDER))
    assert len(files) > 24

    wait_until(lambda: all_seeded(home, files), 60)

    for path in files:
        assert picture_of(home, path)
        for normal, large in zip(seeds_of(home, path), seeds_of(home, path, "large"), strict=True):
            assert normal.samefile(large)
        image = Image.open(seeds_of(home, path)[0])
        standing = path.name.startswith(("TURNED", "PNG"))
        assert (image.height > image.width) == standing
    assert originals_sent(home) == 0
    assert home.cached_files() == []
    assert set(home.icloud.control.traffic()["content_gets"].values()) == {1}

    told = home.status()["now"]["thumbnails"]
    assert told["seeds"] >= len(files) and told["kept"] > 0
    assert "laid out for file managers" in home.icloudfs("status").stdout

    # Opened again, also after a restart, nothing is made anew.
    made = {seed: seed.stat().st_ino for path in files for seed in seeds_of(home, path)}
    look_into(home)
    home.unmount()
    home.mount()
    look_into(home)
    wait_until(lambda: not home.status()["now"]["thumbnails"]["folders_waiting"], 30)
    assert {seed: seed.stat().st_ino for seed in made} == made
    assert originals_sent(home) == 0


@pytest.mark.parametrize("kind", [kio.LISTS, kio.LISTS_AS_A_PROCESS])
def test_kde_meets_every_seed_the_first_time(
    home: Library, scratch: Scratch, kind: tuple[str, str]
) -> None:
    """As Dolphin goes about it: the folder is listed, then one file after the other stat'ed and looked up.
    What it then does to a file without a thumbnail is refused."""
    home.mount()
    folder = home.mount_point / FOLDER
    with (
        Worker(kind, scratch.folder) as files,
        Worker(kio.DRAWS, scratch.folder) as draws,
    ):
        files.do("list", folder)
        for name in sorted(entry.name for entry in os.scandir(folder)):
            assert files.do("stat", folder / name) == "done"
            assert picture_of(home, folder / name), name
            assert draws.do("read", folder / name) == os.strerror(errno.ENODATA)
    assert originals_sent(home) == 0
    assert home.cached_files() == []


def test_kde_does_not_wait_without_a_network(
    home: Library, own_icloud: LocalICloud, scratch: Scratch
) -> None:
    home.mount()
    own_icloud.stop()
    folder = home.mount_point / FOLDER
    began = time.monotonic()
    with Worker(kio.LISTS, scratch.folder) as files:
        names = [entry.name for entry in os.scandir(folder)]
        files.do("list", folder)
        for name in names:
            assert files.do("stat", folder / name) == "done"
    assert time.monotonic() - began < 5
    own_icloud.start()


def test_glib_takes_the_seeds(home: Library, scratch: Scratch) -> None:
    """As Nautilus, Caja and Nemo ask: with GLib's own look-up and checks."""
    home.mount()
    files = list(home.files(FOLDER))
    wait_until(lambda: all_seeded(home, files), 60)
    for path in files:
        told = scratch.run("gio", "info", "-a", "thumbnail::*", path).stdout
        assert f"thumbnail::path: {seeds_of(home, path, 'large')[0]}" in told
        assert "thumbnail::is-valid: TRUE" in told
    assert originals_sent(home) == 0


def test_the_phone_edits_and_deletes(home: Library, own_icloud: LocalICloud) -> None:
    phone = own_icloud.control.phone
    home.mount("--interval", "1")
    files = list(home.files(FOLDER))
    wait_until(lambda: all_seeded(home, files), 60)
    edited = next(path for path in files if "-edited" in path.name)
    asset = asset_of(edited)
    original = next(p for p in home.files_of(asset, FOLDER) if p != edited)
    before, mtime = picture_of(home, edited), edited.stat().st_mtime

    phone("edit", asset=asset)
    checksum = checksum_of(edited)
    wait_until(lambda: checksum_of(edited) != checksum, 15)
    assert edited.stat().st_mtime == mtime
    wait_until(lambda: picture_of(home, edited) not in (b"", before))

    phone("delete", asset=asset)
    home.until_gone(asset)
    gone = [*seeds_of(home, edited), *seeds_of(home, original)]
    wait_until(lambda: not any(seed.exists() for seed in gone))
    others = [path for path in files if path not in (edited, original)]
    assert all_seeded(home, others)
    assert originals_sent(home) == 0


def test_what_changed_while_nothing_was_mounted(home: Library, own_icloud: LocalICloud) -> None:
    home.mount()
    files = list(home.files(FOLDER))
    wait_until(lambda: all_seeded(home, files), 60)
    gone = next(path for path in files if path.name.startswith("HEIC"))
    seed, asset = seeds_of(home, gone)[0], asset_of(gone)
    home.unmount()
    own_icloud.control.phone("delete", asset=asset)
    home.sync()
    assert seed.exists()

    home.mount()

    wait_until(lambda: not seed.exists())


def test_killed_while_it_seeds(home: Library) -> None:
    home.mount()
    files = list(home.files(FOLDER))
    wait_until(lambda: len(everything_in(home)) > 6, 30)
    home.kill()
    for path in everything_in(home, "[!.]*.png"):
        Image.open(path).load()

    subprocess.run(["umount", "-l", home.mount_point], check=True)
    home.mount()
    look_into(home)
    wait_until(lambda: all_seeded(home, files), 60)
    assert everything_in(home, ".icloudfs-*") == []


def test_reset_state_takes_the_seeds_along(home: Library) -> None:
    home.mount()
    files = list(home.files(FOLDER))
    wait_until(lambda: all_seeded(home, files), 60)
    somebodys = seeds_of(home, home.scratch.folder / "my own.jpg")[0]
    somebodys.write_bytes(seeds_of(home, files[0])[0].read_bytes())
    home.unmount()

    home.icloudfs("reset-state", "--yes", "--cache")

    assert everything_in(home) == [somebodys]


def test_no_room_for_thumbnails(home: Library, scratch: Scratch) -> None:
    cache = scratch.folder / "small"
    cache.mkdir()
    scratch.run("mount", "-t", "tmpfs", "-o", "size=100k", "none", cache)
    home.environment["XDG_CACHE_HOME"] = str(cache)
    try:
        home.mount()
        files = list(home.files(FOLDER))
        wait_until(lambda: "no thumbnails are laid for a minute" in home.log.read_text(), 30)
        assert files[0].read_bytes() == home.truth(files[0])
        assert shown(files[1]).format == "JPEG"
        for path in cache.rglob("*.png"):
            Image.open(path).load()
        assert list(cache.rglob(".icloudfs-*")) == []
        home.unmount()
    finally:
        scratch.run("umount", "-l", cache)


def test_without_a_network_there_is_no_seed_and_no_waiting(
    home: Library, own_icloud: LocalICloud
) -> None:
    own_icloud.stop()
    home.mount()
    began = time.monotonic()
    files = list(home.files("Library"))
    assert time.monotonic() - began < 2
    time.sleep(2)
    assert everything_in(home) == []

    own_icloud.start()  # without what the phone did
    folder = next(path.parent for path in files if FOLDER not in str(path))

    def is_seeded() -> bool:
        paths = list(folder.iterdir())
        time.sleep(0.5)
        return all_seeded(home, paths)

    wait_until(is_seeded, 30)


def test_switched_off_there_are_no_seeds(home: Library, own_icloud: LocalICloud) -> None:
    home.mount("--no-thumbnails")
    assert list(home.files(FOLDER))
    time.sleep(2)
    assert everything_in(home) == []
    assert own_icloud.calls(kind="content") == []
