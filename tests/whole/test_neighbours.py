"""Somebody looks at one photo after another: the next ones are here before they are asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scratch import Scratch, scratch_folder, wait_until
from tests.whole.library import MAY_2020, Library, checksum_of
from tests.whole.local_icloud import LocalICloud

QUIET = 1.0
"""Seconds in which something would have come, if anything came."""


PHOTOS = 6


@pytest.fixture(scope="module")
def _album() -> Iterator[Library]:
    """An account with six photos of 4 MB beside each other, listed and never mounted."""
    with scratch_folder() as scratch:
        icloud = LocalICloud(scratch, assets=10)
        for number in range(PHOTOS):
            taken = MAY_2020 + 60_000 * number
            icloud.control.phone(
                "add_photo", kind="large", filename=f"VIEW_{number + 8}.JPG", taken=taken
            )
        library = Library(icloud, scratch, "listed")
        library.login()
        library.sync()
        yield library
        icloud.stop()


@pytest.fixture
def viewed(_album: Library, scratch: Scratch) -> Iterator[Library]:
    """That account, with nothing cached."""
    _album.icloud.control.reset_traffic()
    library = Library(_album.icloud, scratch)
    library.take_state_of(_album)
    yield library
    library.end()


def side_by_side(library: Library) -> list[Path]:
    """The six, in the order in which file managers show them: 8, 9, 10 …"""
    month = library.mount_point / "Library/2020/2020-05"
    return [month / f"VIEW_{number + 8}.JPG" for number in range(PHOTOS)]


def asked_for(library: Library) -> set[str]:
    return {call["checksum"] for call in library.icloud.calls(kind="content")}


def is_here(path: Path) -> bool:
    return os.getxattr(path, "user.icloudfs.status") == b"downloaded"


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_the_next_photos_are_here_before_they_are_asked_for(viewed: Library, way: str) -> None:
    viewed.mount()
    photos = side_by_side(viewed)[:: 1 if way == "forward" else -1]

    for photo in photos[:3]:
        assert photo.read_bytes() == viewed.truth(photo)
    wait_until(lambda: all(map(is_here, photos)))
    viewed.icloud.control.reset_traffic()

    assert [photo.read_bytes() for photo in photos[3:]] == [*map(viewed.truth, photos[3:])]
    assert not asked_for(viewed) & {checksum_of(photo) for photo in photos}


def test_by_option_only_what_is_read_comes(viewed: Library) -> None:
    viewed.mount("--no-neighbours")
    photos = side_by_side(viewed)

    for photo in photos[:3]:
        photo.read_bytes()
    time.sleep(QUIET)

    assert list(map(is_here, photos)) == [True] * 3 + [False] * 3
    assert asked_for(viewed) == {checksum_of(photo) for photo in photos[:3]}


def test_who_looks_at_heads_causes_none(viewed: Library) -> None:
    viewed.mount()
    photos = side_by_side(viewed)

    for photo in photos[:3]:
        viewed.scratch.run("exiftool", "-fast2", photo)
        viewed.scratch.run("head", "--bytes=64K", photo, errors="replace")
    time.sleep(QUIET)

    assert asked_for(viewed) == {checksum_of(photo) for photo in photos[:3]}


def test_a_copy_of_a_folder_transfers_each_photo_once(viewed: Library) -> None:
    viewed.mount()
    photos = side_by_side(viewed)

    viewed.scratch.run("cp", "-r", photos[0].parent, viewed.scratch.folder / "copy")

    for photo in photos:
        assert viewed.icloud.sent(checksum_of(photo)) == photo.stat().st_size
        assert is_here(photo)
