"""``df``: never full, from the account's storage or the library and the disk."""

from __future__ import annotations

import os
from pathlib import Path

from icloudfs.mount.volume import BLOCK, Figures, Volume
from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import Library

GIB = 1 << 30


async def test_the_accounts_storage(library: Library, place: Path) -> None:
    library.connection.execute(
        "INSERT INTO metadata VALUES ('quota_total', ?), ('quota_used', ?)",
        (str(200 * GIB), str(50 * GIB)),
    )
    figures = await Volume(library.path, place).figures()
    assert (figures.total, figures.free, figures.inodes) == (200 * GIB, 150 * GIB, 1)


async def test_the_library_and_the_disk(library: Library, place: Path) -> None:
    library.file(ROOT_INO, "photo", 3 * GIB)
    figures = await Volume(library.path, place).figures()
    disk = os.statvfs(place)
    assert abs(figures.free - disk.f_bavail * disk.f_frsize) < GIB
    assert figures.total - figures.free == 3 * GIB + 4096
    nowhere = await Volume(library.path, place / "missing").figures()
    assert nowhere.free == 0


async def test_it_is_counted_once(library: Library, place: Path) -> None:
    volume = Volume(library.path, place)
    first = await volume.figures()
    library.file(ROOT_INO, "photo", 3 * GIB)
    assert await volume.figures() is first


def test_never_full() -> None:
    for figures in (Figures(200 * GIB, 0, 5), Figures(0, 0, 0), Figures(10 * BLOCK, 1, 1)):
        shown = figures.as_statvfs()
        used = shown.f_blocks - shown.f_bfree
        assert shown.f_bavail > 0
        assert used * 100 <= 99 * (used + shown.f_bavail)
        assert shown.f_namemax == 255
        used = shown.f_files - shown.f_ffree
        assert used * 100 <= 2 * (used + shown.f_favail) < 100 << 32
