"""What does not match Apple's checksum is never shown as a photo."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scratch import scratch_folder
from tests.whole.library import Library, checksum_of
from tests.whole.local_icloud import LocalICloud


@pytest.fixture(scope="module")
def _cold(listed: Library) -> Iterator[Library]:
    with scratch_folder() as scratch:
        library = Library(listed.icloud, scratch)
        library.take_state_of(listed)
        library.mount()
        yield library
        library.unmount()


@pytest.fixture
def cold(icloud: LocalICloud, _cold: Library) -> Library:
    """A mount in which hardly anything has been read yet."""
    return _cold


FAULTS = ("flip", "short", "html", "truncate", "json", "tiny")


def read_error(path: Path) -> int | None:
    """The errno that reading all of it ends with, or None.

    A fault that strikes once would not do: where reading ahead fails, the kernel reads again.
    """
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno
    return None


def failed_rows(library: Library) -> list[dict[str, Any]]:
    return list(library.status("--failed")["listed"])


def holds_any_of(library: Library, checksum: str) -> list[Path]:
    """Files in the cache directory that are named after a content, or not named at all."""
    name = checksum.replace("+", "-").replace("/", "_")
    return [path for path in library.cached_files() if path.name == name]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_photo_is_refused_and_right_when_it_is_sound_again(
    cold: Library, icloud: LocalICloud, fault: str
) -> None:
    photo = cold.uncached(r"\.(HEIC|JPG)$", at_least=100_000)
    checksum, size = checksum_of(photo), photo.stat().st_size
    icloud.control.set_fault("content", fault, checksum=checksum)

    assert read_error(photo) == errno.EIO

    (row,) = [row for row in failed_rows(cold) if row["checksum"] == checksum]
    assert str(photo.relative_to(cold.mount_point)) in row["paths"]
    reason = row["last_error"].lower()
    assert "expected" in reason and "found" in reason, reason
    assert checksum in row["last_error"] and str(size) in reason, reason
    assert holds_any_of(cold, checksum) == []
    assert cold.status()["assets"]["failed"] == 1

    icloud.control.clear_faults("content")
    assert photo.read_bytes() == cold.truth(photo)
    assert failed_rows(cold) == []
    assert [path.read_bytes() for path in holds_any_of(cold, checksum)] == [cold.truth(photo)]


def test_a_flipped_byte_at_either_end_is_found(cold: Library, icloud: LocalICloud) -> None:
    photo = cold.uncached(r"\.(HEIC|JPG)$", at_least=200_000)
    for offset in (0, photo.stat().st_size - 1):
        icloud.control.set_fault("content", "flip", checksum=checksum_of(photo), at=offset)
        assert read_error(photo) == errno.EIO
        icloud.control.clear_faults("content")

    assert photo.read_bytes() == cold.truth(photo)


def test_a_video_that_streams_is_refused_at_the_end_and_forgotten(
    library: Library, icloud: LocalICloud
) -> None:
    """It is larger than what is held back until it is whole, so its end tells."""
    library.mount()
    video = next(path for path in library.files("Videos") if path.stat().st_size > 33 << 20)
    checksum = checksum_of(video)
    icloud.control.set_fault("content", "flip", checksum=checksum)

    assert read_error(video) == errno.EIO

    assert [row["checksum"] for row in failed_rows(library)] == [checksum]
    assert holds_any_of(library, checksum) == []
    icloud.control.clear_faults("content")
    assert video.read_bytes() == library.truth(video)
