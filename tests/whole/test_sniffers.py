"""What programs that only look at a file cost: about what they ask for, not the file.

Each looks at files that nobody has read before, after another program that only looked: the first one after
a viewer may cost what the network has on its way by then (cache/pull.py).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scratch import Scratch, wait_until
from tests.whole.library import Library, checksum_of
from tests.whole.local_icloud import LocalICloud

KIB = 1 << 10
MIB = 1 << 20
HEAD = 128 * KIB
"""Of a photo: the most that a look at its beginning may cost (facts/desktop.md §2.1)."""

LOOKS_AT_THE_HEAD = (
    ("JPG", ("head", "-c", "100")),
    ("MOV", ("head", "-c", "100")),
    ("JPG", ("head", "-c", "16384")),
    ("JPG", ("exiftool", "-fast2")),
    ("MOV", ("exiftool", "-fast2")),
    ("JPG", ("exiftool", "-fast")),
)
LOOKS_FURTHER = (
    ("file", "--brief"),
    ("exiftool",),
    ("identify", "-ping"),
    ("ffprobe", "-v", "error", "-show_format"),
    ("tail", "-c", "100"),
)
"""They ask for the end, or for 128 KiB and more at once: then it is the photo, and once."""

LOOKS_INTO_A_FILM = {
    ("head", "-c", "100"): 2 * MIB,
    ("ffprobe", "-v", "error", "-show_format"): 4 * MIB,
    # Its index comes last; what lies between is not asked for.
    ("exiftool", "-fast"): 4 * MIB,
    ("exiftool",): 4 * MIB,
    ("ffmpegthumbnailer", "-s", "128", "-c", "png", "-o", "/dev/null", "-i"): 8 * MIB,
    # It reads the first and the last 7 MiB, and what follows the first ones is on its way by then.
    ("file", "--brief"): 30 * MIB,
}
"""Of 40 MB; the first window ahead of a reader is 1.1 MiB."""

_NOT_LISTED = ("user.icloudfs.status", "user.icloudfs.state")


@pytest.fixture(scope="module")
def _fresh(
    _common_icloud: LocalICloud, common_scratch: Scratch, listed: Library
) -> Iterator[Library]:
    library = Library(_common_icloud, common_scratch, "sniffed")
    library.take_state_of(listed)
    library.mount()
    yield library
    library.unmount()


@pytest.fixture
def fresh(icloud: LocalICloud, _fresh: Library) -> Library:
    """A mount of which these tests read each file once; the last look was at a head alone."""
    _fresh.scratch.run("head", "-c", "1", _fresh.uncached(r"\.MOV$", at_least=HEAD + 1))
    # What is fetched ahead of who looks at one photo after another is not what these tests count.
    wait_until(lambda: not _fresh.status()["now"]["transfers"])
    icloud.control.reset_traffic()
    return _fresh


@pytest.mark.parametrize("kind, command", LOOKS_AT_THE_HEAD)
def test_a_look_at_the_beginning_costs_a_head(
    fresh: Library, icloud: LocalICloud, kind: str, command: tuple[str, ...]
) -> None:
    file = fresh.uncached(rf"\.{kind}$", at_least=HEAD + KIB)

    fresh.scratch.run(*command, file, errors="replace")

    sent = sent_of(file, icloud)
    print(f"\n{command}: {sent // KIB} of {file.stat().st_size // KIB} KiB")
    assert 0 < sent <= HEAD


def sent_of(file: Path, icloud: LocalICloud) -> int:
    """Bytes of a file that was looked into. They are counted when the answer ends, and who looks has theirs
    before that."""
    checksum = checksum_of(file)
    wait_until(lambda: icloud.sent(checksum))
    return icloud.sent(checksum)


@pytest.mark.parametrize("command", LOOKS_FURTHER, ids=" ".join)
def test_a_look_further_costs_the_photo_once(
    fresh: Library, icloud: LocalICloud, command: tuple[str, ...]
) -> None:
    photo = fresh.uncached(r"\.JPG$", at_least=HEAD + KIB)

    fresh.scratch.run(*command, photo, errors="replace")

    sent = sent_of(photo, icloud)
    print(f"\n{command}: {sent // KIB} of {photo.stat().st_size // KIB} KiB")
    assert 0 < sent <= photo.stat().st_size


@pytest.mark.parametrize("command", LOOKS_INTO_A_FILM, ids=" ".join)
def test_a_look_into_a_film_is_not_the_film(
    library: Library, icloud: LocalICloud, command: tuple[str, ...]
) -> None:
    library.mount()
    film = library.uncached(r"HUGE\.MOV")

    library.scratch.run(*command, film, errors="replace")

    sent = sent_of(film, icloud)
    print(f"\n{command}: {sent / 1e6:.1f} of {film.stat().st_size / 1e6:.1f} MB")
    assert 0 < sent <= LOOKS_INTO_A_FILM[command] < film.stat().st_size


def look(path: Path, *places: int) -> None:
    """What tells what a file is: a few reads, and the file is closed."""
    with path.open("rb", buffering=0) as file:
        for place in places:
            file.seek(place, os.SEEK_SET if place >= 0 else os.SEEK_END)
            file.read(4 * KIB)


def play(path: Path, size: int) -> None:
    """What begins to show a film, and is closed again."""
    with path.open("rb", buffering=0) as file:
        while size > 0:
            size -= len(file.read(128 * KIB))


def as_digikam_does(path: Path) -> None:
    look(path, 0)
    look(path, 0)
    path.read_bytes()


def as_nsxiv_does(path: Path) -> None:
    look(path, 0)
    time.sleep(0.1)
    path.read_bytes()


def as_totem_does(path: Path) -> None:
    look(path, 0, -4 * KIB)
    play(path, 3 * MIB)
    play(path, 8 * MIB)
    path.read_bytes()


def as_vlc_does(path: Path) -> None:
    look(path, 0, 2 * MIB)
    look(path, 0, -4 * KIB, 0)
    play(path, 20 * MIB)
    time.sleep(0.1)
    path.read_bytes()


@pytest.mark.parametrize(
    "name, program",
    [
        (r"LARGE_\d", as_digikam_does),
        (r"LARGE_\d", as_nsxiv_does),
        (r"HUGE\.MOV", as_totem_does),
        (r"HUGE\.MOV", as_vlc_does),
    ],
)
def test_what_is_looked_at_closed_and_read_is_sent_once(
    library: Library, icloud: LocalICloud, name: str, program: Callable[[Path], None]
) -> None:
    """By those whose like went on to the rest the last time, too: then more was asked for than the look."""
    library.mount()
    library.uncached(r"\.JPG$", at_least=HEAD + KIB).read_bytes()
    file = library.uncached(name, at_least=2 * MIB)

    program(file)

    checksum, size = checksum_of(file), file.stat().st_size
    wait_until(lambda: icloud.sent(checksum) >= size)
    ratio = icloud.sent(checksum) / size
    print(f"\n{program.__name__}: {ratio:.2f} times the bytes")
    assert 1.0 <= ratio <= 1.02


def test_attributes_cost_nothing(library: Library, icloud: LocalICloud) -> None:
    """Every extended attribute of every file, none of them cached; and what `getfattr` shows."""
    library.mount()
    files = list(library.files("Library"))
    values = {path: {name: os.getxattr(path, name) for name in names(path)} for path in files}
    shown = library.scratch.run("getfattr", "--dump", files[0]).stdout

    assert icloud.calls(kind="content") == icloud.calls(path="records/lookup") == []
    assert all(value for of_one in values.values() for value in of_one.values())
    told = set().union(*values.values())
    assert {f"user.icloudfs.{word}" for word in ("caption", "latitude", "longitude")} <= told
    assert {f"user.icloudfs.{word}" for word in ("keywords", "albums", "duration")} <= told
    assert "user.icloudfs.asset=" in shown and "user.icloudfs.checksum=" in shown


def names(path: Path) -> list[str]:
    """Those that are listed, and those of this machine, which are not."""
    return [*os.listxattr(path), *_NOT_LISTED]


def test_an_uncached_file_has_no_sha256_and_is_pending(fresh: Library) -> None:
    photo = fresh.uncached()

    with pytest.raises(OSError) as caught:
        os.getxattr(photo, "user.icloudfs.sha256")

    assert caught.value.errno == errno.ENODATA
    assert os.getxattr(photo, "user.icloudfs.status") == b"pending"
