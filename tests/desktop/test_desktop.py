from __future__ import annotations

import pytest
import trio

from icloudfs.apple.records import Rendition, Zone
from icloudfs.desktop.desktop import Desktop
from icloudfs.desktop.pictures import MOST_XATTR
from icloudfs.errors import ContentUnavailable, LoginNeeded, Offline
from icloudfs.tree.directory import File
from tests.desktop.drawing import jpeg

FILE = File(1, 10, "sum", Rendition.ORIGINAL, Zone("private", "PrimarySync"), "M", "A")


async def test_a_picture_that_fits() -> None:
    async def picture(file: File) -> bytes:
        return jpeg(1024, 768, noisy=True)

    found = await Desktop(picture).thumbnail(FILE)
    assert found is not None and len(found) <= MOST_XATTR


@pytest.mark.parametrize("error", [Offline("away"), ContentUnavailable("none"), LoginNeeded("who")])
async def test_none_if_none_can_be_had(error: Exception) -> None:
    async def picture(file: File) -> bytes:
        raise error

    assert await Desktop(picture).thumbnail(FILE) is None


async def test_none_if_it_takes_too_long(autojump_clock: trio.testing.MockClock) -> None:
    async def picture(file: File) -> bytes:
        await trio.sleep(3600)
        return jpeg()

    assert await Desktop(picture).thumbnail(FILE) is None
    assert trio.current_time() <= 20
