from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from icloudfs.desktop import seeds as module
from icloudfs.desktop.seeds import Seed, Seeds, thumbnails_directory
from icloudfs.desktop.uris import entry, uris
from icloudfs.errors import ContentError
from tests.desktop.drawing import jpeg

MOUNT = Path("/home/me/Photos")
PHOTO = Seed(b"Library/2020/IMG_1.JPG", "sum", 1_700_000_000, 1234)


def opened(tmp_path: Path, mount_point: Path = MOUNT, **limits: int) -> Seeds:
    database, thumbnails = tmp_path / "cache" / "seeds.db", tmp_path / "thumbnails"
    seeds = Seeds(database, thumbnails, mount_point, gwenview=False, **limits)
    seeds.open()
    return seeds


@pytest.fixture
def seeds(tmp_path: Path) -> Iterator[Seeds]:
    seeds = opened(tmp_path)
    yield seeds
    seeds.close()


def write(seeds: Seeds, seed: Seed, jpeg: bytes) -> None:
    seeds.lay(seed, seeds.draw(seed, jpeg))


def pngs(tmp_path: Path, size: str = "normal") -> set[str]:
    return {path.name for path in (tmp_path / "thumbnails" / size).glob("*")}


def place(tmp_path: Path, seed: Seed, size: str = "normal") -> Path:
    (uri,) = uris(os.fsencode(MOUNT) + b"/" + seed.path)
    return tmp_path / "thumbnails" / size / entry(uri)


def numbered(number: int) -> Seed:
    return Seed(b"IMG_%d.JPG" % number, "sum", 1, 1)


def test_a_seed_is_what_the_standard_says(seeds: Seeds, tmp_path: Path) -> None:
    write(seeds, PHOTO, jpeg())
    normal, large = place(tmp_path, PHOTO), place(tmp_path, PHOTO, "large")
    image = Image.open(normal)
    assert (image.format, image.size) == ("PNG", (256, 192))
    assert image.info["Thumb::URI"] == "file:///home/me/Photos/Library/2020/IMG_1.JPG"
    assert image.info["Thumb::MTime"] == "1700000000"
    assert image.info["Thumb::Size"] == "1234"
    assert normal.samefile(large)
    assert stat.S_IMODE(normal.stat().st_mode) == 0o600
    for directory in (normal.parent, large.parent, normal.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert (seeds.count, seeds.bytes) == (1, normal.stat().st_size)


def test_in_every_size_for_who_takes_no_other(seeds: Seeds, tmp_path: Path) -> None:
    """Those that were laid before get the other sizes, too, and are not drawn anew."""
    write(seeds, PHOTO, jpeg())
    assert seeds.missing([PHOTO]) == [] and pngs(tmp_path, "x-large") == set()

    seeds.in_every_size = True
    assert seeds.missing([PHOTO]) == []
    write(seeds, numbered(1), jpeg())
    for seed in (PHOTO, numbered(1)):
        for size in ("large", "x-large", "xx-large"):
            assert place(tmp_path, seed, size).samefile(place(tmp_path, seed))
    seeds.forget(PHOTO.path)
    assert pngs(tmp_path, "xx-large") == {place(tmp_path, numbered(1)).name}


def test_what_somebody_else_made_is_replaced_in_one_step(
    seeds: Seeds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made it may be about to show it."""
    theirs = place(tmp_path, PHOTO)
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    there: list[bool] = []
    rename = Path.rename

    def watched(new: Path, target: Path) -> Path:
        there.append(theirs.exists())
        return rename(new, target)

    monkeypatch.setattr(Path, "rename", watched)
    write(seeds, PHOTO, jpeg())
    assert there == [True, True]
    assert Image.open(theirs).format == "PNG"


def test_both_names_where_glib_and_qt_differ(seeds: Seeds, tmp_path: Path) -> None:
    photo = Seed(b"IMG [1].JPG", "sum", 1, 1)
    write(seeds, photo, jpeg())
    shown = {
        Image.open(path).info["Thumb::URI"] for path in (tmp_path / "thumbnails/large").iterdir()
    }
    assert shown == {
        "file:///home/me/Photos/IMG%20%5B1%5D.JPG",
        "file:///home/me/Photos/IMG%20[1].JPG",
    }
    seeds.forget(photo.path)
    assert pngs(tmp_path) == pngs(tmp_path, "large") == set()


def test_gwenview_finds_a_name_with_blanks(tmp_path: Path) -> None:
    photo = Seed("My álbum/IMG 1.JPG".encode(), "sum", 1, 1)
    seeds = Seeds(tmp_path / "seeds.db", tmp_path / "thumbnails", MOUNT, gwenview=True)
    seeds.open()
    write(seeds, photo, jpeg())
    shown = {
        Image.open(path).info["Thumb::URI"] for path in (tmp_path / "thumbnails/normal").iterdir()
    }
    assert shown == {
        "file:///home/me/Photos/My%20%C3%A1lbum/IMG%201.JPG",
        "file:///home/me/Photos/My álbum/IMG 1.JPG",
    }
    assert seeds.missing([photo]) == []
    seeds.close()

    # Whoever had it, and has it no more, finds nothing of it left.
    seeds = Seeds(tmp_path / "seeds.db", tmp_path / "thumbnails", MOUNT)
    seeds.open()
    seeds.forget(photo.path)
    seeds.close()
    assert pngs(tmp_path) == set()


def test_what_is_right_is_not_missing(seeds: Seeds, tmp_path: Path) -> None:
    assert seeds.missing([PHOTO]) == [PHOTO]
    write(seeds, PHOTO, jpeg())
    assert seeds.missing([PHOTO]) == []
    for other in (
        Seed(PHOTO.path, "edited", PHOTO.mtime, PHOTO.size),
        Seed(PHOTO.path, PHOTO.checksum, 1, PHOTO.size),
        Seed(PHOTO.path, PHOTO.checksum, PHOTO.mtime, 1),
    ):
        assert seeds.missing([other]) == [other]
        assert seeds.stale([other, numbered(1)]) == [PHOTO.path]
    place(tmp_path, PHOTO, "large").unlink()
    assert seeds.missing([PHOTO]) == [PHOTO]


def test_another_content_replaces_the_old_one(seeds: Seeds, tmp_path: Path) -> None:
    write(seeds, PHOTO, jpeg())
    edited = Seed(PHOTO.path, "edited", PHOTO.mtime, PHOTO.size)
    write(seeds, edited, jpeg(240, 320))
    assert Image.open(place(tmp_path, PHOTO)).size == (192, 256)
    assert seeds.count == 1 and seeds.missing([edited]) == []


def test_forgetting_takes_all_sizes_and_what_is_below(seeds: Seeds, tmp_path: Path) -> None:
    inside = [Seed(b"Albums/A/1.JPG", "a", 1, 1), Seed(b"Albums/A/B/2.JPG", "b", 1, 1)]
    beside = Seed(b"Albums/A B/3.JPG", "c", 1, 1)
    for seed in (*inside, beside):
        write(seeds, seed, jpeg())
    larger = place(tmp_path, inside[0], "x-large")
    larger.parent.mkdir()
    larger.write_bytes(b"made by a file manager")

    assert sorted(seeds.forget(b"Albums/A")) == sorted(seed.path for seed in inside)
    assert pngs(tmp_path) == {place(tmp_path, beside).name}
    assert seeds.count == 1 and not larger.exists()


def test_what_others_made_of_a_file_goes_with_it(seeds: Seeds, tmp_path: Path) -> None:
    place(tmp_path, PHOTO).parent.mkdir(parents=True)
    place(tmp_path, PHOTO).write_bytes(b"made by a file manager")
    assert seeds.forget(PHOTO.path) == []
    assert pngs(tmp_path) == set()


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    seeds = opened(tmp_path, most=3)
    for number in range(3):
        write(seeds, numbered(number), jpeg())
    seeds.missing([numbered(0)])
    write(seeds, numbered(3), jpeg())
    assert pngs(tmp_path) == {place(tmp_path, numbered(n)).name for n in (0, 2, 3)}
    assert seeds.count == 3
    seeds.close()


def test_bytes_are_bounded_too(tmp_path: Path) -> None:
    seeds = opened(tmp_path, most_bytes=1)
    for number in range(3):
        write(seeds, numbered(number), jpeg())
    assert pngs(tmp_path) == {place(tmp_path, numbered(2)).name}
    seeds.close()


def test_everything_is_known_after_a_restart(seeds: Seeds, tmp_path: Path) -> None:
    write(seeds, PHOTO, jpeg())
    write(seeds, numbered(1), jpeg())
    seeds.close()
    again = opened(tmp_path)
    assert again.page(b"", 10) == [numbered(1), PHOTO] and again.page(PHOTO.path, 10) == []
    assert again.missing([PHOTO]) == [] and again.count == 2
    again.close()


def test_seeds_of_another_mount_point_go(seeds: Seeds, tmp_path: Path) -> None:
    write(seeds, PHOTO, jpeg())
    foreign = tmp_path / "thumbnails" / "normal" / "foreign.png"
    foreign.write_bytes(b"somebody else's")
    seeds.close()
    again = opened(tmp_path, Path("/mnt/photos"))
    assert pngs(tmp_path) == {"foreign.png"} and again.count == 0
    again.close()


@pytest.mark.parametrize("step", ["_write", "_linked"])
def test_killed_in_the_middle(
    seeds: Seeds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """At whatever step: what is there is whole, and what is missing is known to be."""
    write(seeds, PHOTO, jpeg())
    edited = Seed(PHOTO.path, "edited", PHOTO.mtime, PHOTO.size)

    class Killed(BaseException):
        pass

    def die(path: Path, *rest: object) -> None:
        if step == "_write":
            path.write_bytes(b"\x89PNG half")
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(module, step, die)
        with pytest.raises(Killed):
            write(seeds, edited, jpeg())
    seeds.close()

    again = opened(tmp_path)
    assert not any(name.startswith(".") for name in pngs(tmp_path) | pngs(tmp_path, "large"))
    for path in (tmp_path / "thumbnails").rglob("*.png"):
        Image.open(path).load()
    assert again.missing([edited]) == [edited] and again.missing([PHOTO]) == [PHOTO]
    write(again, edited, jpeg())
    assert again.missing([edited]) == []
    again.close()


def test_a_damaged_database_is_begun_anew(seeds: Seeds, tmp_path: Path) -> None:
    write(seeds, PHOTO, jpeg())
    seeds.close()
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(b"not a database" * 100)
    again = opened(tmp_path)
    assert again.missing([PHOTO]) == [PHOTO]
    again.close()


def test_no_picture_no_seed(seeds: Seeds, tmp_path: Path) -> None:
    with pytest.raises(ContentError):
        write(seeds, PHOTO, b"\xff\xd8 nothing")
    assert seeds.count == 0 and pngs(tmp_path) == set()


def test_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert thumbnails_directory() == tmp_path / ".cache" / "thumbnails"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert thumbnails_directory() == Path("/elsewhere/thumbnails")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert thumbnails_directory() == tmp_path / ".cache" / "thumbnails"
    monkeypatch.setenv("HOME", "/nonexistent")
    assert thumbnails_directory() is None
