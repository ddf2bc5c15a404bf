"""Every call of a download, answered in every wrong way: once, and for ever.

Once: every photo is here afterwards. For ever, to one content: all others are here, and that one has failed
with a reason. Whatever is answered, no wrong byte counts as a photo, and what Apple gives again is fetched.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from icloudfs.apple import icloud, retry
from icloudfs.errors import IcloudfsError
from icloudfs.simulator.faults import WAYS
from icloudfs.state import contents
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.test_wire import World, _world
from tests.ways import some

CALLS = ("lookup", "content")
STATUSES = ("400", "403", "404", "410", "416", "421", "450", "500", "503")
ALL_WAYS = (*STATUSES, *(way for way in WAYS if way != "no-inner-list"))
NO_VERDICT = ("500", "503", "silence", "much-later")
"""A server that is busy or gone says nothing of the photo: it stays pending."""
HARMLESS = ("bad-value", "bad-name", "bad-token", "bad-cookie", "bad-headers")
"""A content has no such values, and a look-up gives all the same what they do not spoil."""
PHOTOS = 4
PATIENCE = 0.3  # seconds
BOUND = 30.0  # seconds for all photos, whatever is answered


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(icloud, "_UNEXPLAINED_PAUSE", 0.05)


async def fetch(world: World, files: list[File]) -> set[str]:
    """Have all files here that can be had; the checksums of those that cannot."""
    try:
        with trio.fail_after(BOUND):
            result = await world.cache.prefetch(files, lambda _: None, 2)
    except IcloudfsError as error:
        assert str(error)  # nothing is answered at all
        return {file.checksum for file in files} - here(world)
    assert all(failure.reason for failure in result.failed)
    return {failure.checksum for failure in result.failed}


def here(world: World) -> set[str]:
    rows = world.database.reader.execute(
        "SELECT checksum FROM content WHERE status = 'downloaded'"
    ).fetchall()
    return {str(checksum) for (checksum,) in rows}


async def photos(world: World) -> list[File]:
    return [await world.take("jpeg") for _ in range(PHOTOS)]


@pytest.mark.parametrize("call", CALLS)
async def test_downloads_that_are_answered_wrongly_once(
    tmp_path: Path, database: Database, call: str
) -> None:
    async with _world(tmp_path, database) as world:
        world.icloud.patience = PATIENCE
        for way in some(ALL_WAYS, call, CALLS):
            files = await photos(world)
            world.sim.faults.set("*", "answer", call=call, way=way, times=1)
            missing = await fetch(world, files)
            world.sim.faults.clear()
            assert missing == {file.checksum for file in files} - here(world), way
            world.cache.heard(None)  # as when a sync goes well
            assert not await fetch(world, files), way
            for file in files:
                assert await world.reads_right(file), way


@pytest.mark.parametrize("call", CALLS)
async def test_downloads_that_are_answered_wrongly_for_ever(
    tmp_path: Path, database: Database, call: str
) -> None:
    async with _world(tmp_path, database) as world:
        world.icloud.patience = PATIENCE
        for way in some([way for way in ALL_WAYS if way not in HARMLESS], call, CALLS):
            bad, *good = files = await photos(world)
            only = bad.checksum if call == "content" else ""
            world.sim.faults.set("*", "answer", call=call, way=way, checksum=only)
            missing = await fetch(world, files)
            assert bad.checksum in missing, way
            assert not missing & here(world), way
            if only:
                assert missing == {only}, (way, "one content holds back the others")
                kept = contents.get(database.reader, only)
                is_failed = kept is not None and kept.status == "failed" and bool(kept.last_error)
                assert is_failed != (way in NO_VERDICT), way
            world.sim.faults.clear()
            world.cache.heard(None)  # as when a sync goes well
            assert not await fetch(world, files), way
            for file in (bad, *good):
                assert await world.reads_right(file), way
