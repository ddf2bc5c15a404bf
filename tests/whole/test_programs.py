"""Programs that know nothing of iCloud, on the real mount."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

from tests.whole.library import Library
from tests.whole.local_icloud import LocalICloud

pillow_heif.register_heif_opener()
KIB = 1 << 10


@pytest.fixture
def album(mounted: Library) -> Path:
    """Some photos, small enough to be copied many times."""
    return mounted.mount_point / "Albums" / "Holidays" / "Europe"


@pytest.fixture
def elsewhere(mounted: Library) -> Path:
    """Where copies go."""
    folder = mounted.scratch.folder / "copies"
    mounted.scratch.run("rm", "-rf", folder)
    folder.mkdir()
    return folder


def times(folder: Path) -> dict[str, tuple[int, int]]:
    """mtime and size of every file."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# -- what copies -----------------------------------------------------------------------------------


def test_cp(mounted: Library, album: Path, elsewhere: Path) -> None:
    mounted.scratch.run("cp", "-a", album, elsewhere / "copy")

    mounted.scratch.run("diff", "-r", album, elsewhere / "copy")
    assert times(elsewhere / "copy") == times(album)


def test_rsync_has_nothing_to_do_the_second_time(
    mounted: Library, icloud: LocalICloud, album: Path, elsewhere: Path
) -> None:
    command = ("rsync", "--archive", "--itemize-changes", "--stats", f"{album}/", elsewhere)
    first = mounted.scratch.run(*command).stdout
    icloud.control.reset_traffic()

    second = mounted.scratch.run(*command).stdout

    assert len(re.findall(r"^>f", first, re.MULTILINE)) == len(times(album)) > 20
    assert re.findall(r"^>f.*", second, re.MULTILINE) == []
    assert "Number of regular files transferred: 0" in second
    assert icloud.calls(kind="content") == []
    mounted.scratch.run("diff", "-r", album, elsewhere)


def test_rsync_with_checksums_finds_no_difference(
    mounted: Library, album: Path, elsewhere: Path
) -> None:
    mounted.scratch.run("rsync", "-a", f"{album}/", elsewhere)

    again = mounted.scratch.run("rsync", "-a", "-i", "--checksum", f"{album}/", elsewhere).stdout

    assert re.findall(r"^>f.*", again, re.MULTILINE) == []


@pytest.mark.parametrize("options", [(), ("--sparse",)], ids=["plain", "sparse"])
def test_tar_there_and_back(
    mounted: Library, album: Path, elsewhere: Path, options: tuple[str, ...]
) -> None:
    archive = elsewhere / "photos.tar"
    mounted.scratch.run("tar", *options, "-cf", archive, "-C", album, ".")
    (elsewhere / "out").mkdir()
    mounted.scratch.run("tar", "-xf", archive, "-C", elsewhere / "out")

    mounted.scratch.run("diff", "-r", album, elsewhere / "out")
    assert {
        name: (mtime // 10**9, size) for name, (mtime, size) in times(elsewhere / "out").items()
    } == {name: (mtime // 10**9, size) for name, (mtime, size) in times(album).items()}


def test_tar_stores_a_photo_of_two_albums_once(
    mounted: Library, icloud: LocalICloud, elsewhere: Path
) -> None:
    archive = elsewhere / "albums.tar"
    mounted.scratch.run("tar", "-cf", archive, "-C", mounted.mount_point / "Albums", ".")

    with tarfile.open(archive) as packed:
        members = [member for member in packed.getmembers() if not member.isdir()]
    inodes = {path.stat().st_ino for path in mounted.files("Albums")}
    assert sum(member.isreg() for member in members) == len(inodes)
    assert sum(member.islnk() for member in members) == len(members) - len(inodes) > 0


# -- what looks ------------------------------------------------------------------------------------


def test_looking_reads_nothing(mounted: Library, icloud: LocalICloud) -> None:
    top = mounted.mount_point
    files = list(mounted.files())
    for command in (
        ("ls", "-lR", top),
        ("ls", "--color=always", "-laR", top),
        ("du", "-sh", top),
        ("find", top, "-printf", "%p %s %T+ %i %n %M\\n"),
        ("find", top, "-size", "+1M", "-newermt", "2024-01-01"),
        ("stat", "-f", top),
        ("df", top),
        ("getfattr", "-d", files[0]),
    ):
        output = mounted.scratch.run(*command).stdout
        assert output, command

    listed = mounted.scratch.run("ls", "-lAR", top).stdout
    assert len(re.findall(r"^-rw-r--r-- ", listed, re.MULTILINE)) == len(files)
    assert icloud.calls(kind="content") == []


def test_exiftool_and_file_cost_little(library: Library, icloud: LocalICloud) -> None:
    """Photos that nobody has read: what they ask for is what is transferred, or a little more."""
    library.mount()
    photos = [
        path
        for path in library.files("Library")
        if path.suffix in (".HEIC", ".JPG") and path.stat().st_size > 130 * KIB
    ][:16]
    head, exif = photos[:8], photos[8:]

    kinds = library.scratch.run("file", "--brief", "--mime-type", *head).stdout.split()
    sniffed = _content_bytes(icloud)
    icloud.control.reset_traffic()
    told = json.loads(library.scratch.run("exiftool", "-fast2", "-json", *exif).stdout)
    described = _content_bytes(icloud)

    assert set(kinds) <= {"image/heic", "image/heif", "image/jpeg"}
    assert all(photo["ImageWidth"] > 100 and photo["MIMEType"] for photo in told)
    whole = sum(path.stat().st_size for path in photos)
    print(
        f"\nfile: {sniffed // 8 // KIB} KiB a photo, exiftool: {described // 8 // KIB} KiB,"
        f" of {whole // 16 // KIB} KiB"
    )
    assert sniffed <= sum(path.stat().st_size for path in head)
    # The head of a photo is 128 KiB: that is the most that a look at its metadata may cost. The first one comes
    # after a program that read whole photos, and may cost what is on its way by then (cache/pull.py).
    assert described <= (len(exif) - 1) * 128 * KIB + exif[0].stat().st_size


def _content_bytes(icloud: LocalICloud) -> int:
    return sum(icloud.control.traffic(log=False)["content_bytes"].values())


def test_exiftool_dates_are_those_of_the_files(mounted: Library) -> None:
    photo = next(p for p in mounted.files("Library") if re.match(r"IMG_00\d\d\.JPG", p.name))

    (told,) = json.loads(mounted.scratch.run("exiftool", "-json", "-d", "%Y-%m", photo).stdout)

    assert told["DateTimeOriginal"] == photo.parent.name


def test_ffprobe(mounted: Library) -> None:
    movies = [path for path in mounted.files("Videos") if path.suffix == ".MOV"]
    for movie in movies[:4]:
        told = json.loads(
            mounted.scratch.run(
                *("ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", movie)
            ).stdout
        )
        assert float(told["format"]["duration"]) > 0
        assert any(stream["codec_type"] == "video" for stream in told["streams"])
        assert int(told["format"]["size"]) == movie.stat().st_size


def test_ffprobe_does_not_read_a_large_video_to_its_end(
    library: Library, icloud: LocalICloud
) -> None:
    library.mount()
    movie = library.uncached(r"HUGE\.MOV")

    duration = library.scratch.run(
        *("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", movie)
    ).stdout

    size, sent = movie.stat().st_size, _content_bytes(icloud)
    print(f"\nffprobe: {sent / 1e6:.1f} of {size / 1e6:.1f} MB")
    assert float(duration) > 0
    assert sent < size / 2


@pytest.mark.parametrize("suffix, kind", [("HEIC", "HEIF"), ("JPG", "JPEG"), ("PNG", "PNG")])
def test_pillow(mounted: Library, suffix: str, kind: str) -> None:
    photo = next(path for path in mounted.files("Library") if path.suffix == f".{suffix}")

    with Image.open(photo) as image:
        image.load()
        assert image.format == kind
        assert image.width * image.height > 10_000


# -- what writes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("touch", "{top}/new"),
        ("rm", "-f", "{file}"),
        ("mv", "{file}", "{file}.old"),
        ("cp", "/etc/hostname", "{top}/hostname"),
        ("mkdir", "{top}/folder"),
        ("chmod", "0644", "{file}"),
        ("ln", "{file}", "{top}/link"),
        ("truncate", "-s", "0", "{file}"),
        ("setfattr", "-n", "user.me", "-v", "1", "{file}"),
    ],
    ids=lambda command: command[0],
)
def test_nothing_can_be_changed(mounted: Library, command: tuple[str, ...]) -> None:
    file = next(mounted.files("Library"))
    before = mounted.views(), file.stat()

    words = [word.format(top=mounted.mount_point, file=file) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "Read-only file system" in done.stderr
    assert before == (mounted.views(), file.stat())
