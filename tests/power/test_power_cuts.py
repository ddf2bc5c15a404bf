"""The power is cut at any moment: nothing wrong is shown, and nothing is claimed that is not there.

What was committed since the state was last folded is done again, and no more.
"""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import trio

from icloudfs.demo.check import check
from icloudfs.state import catalogue, contents
from icloudfs.state.contents import Content
from icloudfs.state.database import Database
from icloudfs.tree.directory import Directory
from tests.cache.server import KIB, Server, running
from tests.power.at_work import at_work
from tests.power.conftest import CUTS
from tests.power.disk import Disk
from tests.scratch import Scratch, wait_until
from tests.whole.library import ALL_VIEWS, INTERVAL, Library
from tests.whole.local_icloud import LocalICloud

LIMIT = "24M"
"""Of the cache: less than what is read, so something is evicted all the time."""


class Cut(NamedTuple):
    image: Path
    was_listed: bool
    """Whether the first listing had been done, and folded into the database."""


class Found(NamedTuple):
    """What a cut left that can be looked at without iCloud."""

    whole: int
    ranges: int


def test_the_power_is_cut(disk: Disk, icloud: LocalICloud, scratch: Scratch) -> None:
    with disk.mounted():
        library = Library(icloud, scratch)
        library.environment["ICLOUDFS_VIEWS"] = ",".join(ALL_VIEWS)
        library.login()
        # What one has before a first sync; from here on nothing is waited for.
        scratch.run("sync", "--file-system", disk.folder)
        cuts = cuts_while_at_work(disk, library)
    found = []
    for cut in cuts:
        with disk.mounted(cut.image):
            found.append(trio.run(what_is_left_is_right, library, cut))
            it_goes_on(library)
        print(f"\n{cut.image.name}: listed before: {cut.was_listed}; {found[-1]}")
    assert any(cut.was_listed for cut in cuts)
    assert sum(left.whole for left in found) and sum(left.ranges for left in found)


def cuts_while_at_work(disk: Disk, library: Library) -> list[Cut]:
    """From the first moment of a first sync on."""
    chance = random.Random(5)
    cuts = []
    daemon = library.serve("--interval", str(INTERVAL), "--cache-limit", LIMIT)
    with at_work(library.mount_point, library.icloud.url, seed=5):
        for number in range(CUTS):
            if number == CUTS // 2:
                wait_until(lambda: is_listed(library), 60)
            was_listed = is_listed(library)
            time.sleep(chance.uniform(0.2, 3.0))
            cuts.append(Cut(disk.cut(), was_listed))
    library.unmount()
    daemon.wait(30)
    assert "Traceback" not in library.log.read_text()
    return cuts


def is_listed(library: Library) -> bool:
    """Whether a run that listed is over, and the one after it has begun: by then its work is on the disk."""
    with library.database() as database:
        try:
            rows = database.execute(
                "SELECT completed_at IS NOT NULL AND kind LIKE '%listing%' FROM sync_runs ORDER BY id"
            ).fetchall()
        except sqlite3.OperationalError:
            return False  # it is just being made
    return any(done for (done,) in rows[:-1])


async def what_is_left_is_right(library: Library, cut: Cut) -> Found:
    """All that the state claims is there and right, without a word from iCloud."""
    [path] = library.state.glob("*.db")
    with closing(Database(path)) as database:
        assert database.reader.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.reader.execute("PRAGMA foreign_key_check").fetchall() == []
        if cut.was_listed:
            assert all(zone.listed for zone in catalogue.zones(database.reader))
        cache = library.cache / library.icloud.account.apple_id
        async with running(cache, database, Server(away=True), whole_below=0) as opened:
            await _until_tidy(database, cache)
            found = Found(0, 0)
            for row in _rows(database):
                file = Directory(database.reader).file_of(row.checksum)
                if file is None:
                    continue  # nothing shows it any more
                truth = library.icloud.content(row.checksum)
                claimed = row.ranges or [(0, row.size)]
                handle = opened.open(file)
                for start, stop in claimed:
                    for at in range(start, stop, 128 * KIB):
                        size = min(128 * KIB, stop - at)
                        assert await handle.read(at, size) == truth[at : at + size], row
                handle.close()
                whole = row.status == "downloaded"
                found = Found(found.whole + whole, found.ranges + (not whole) * len(claimed))
            return found


def _rows(database: Database) -> list[Content]:
    return [
        row
        for row in contents.here_page(database.reader, "", 100_000)
        if row.status == "downloaded" or row.ranges
    ]


async def _until_tidy(database: Database, cache: Path) -> None:
    """Until what disagreed was put right, which begins with the cache."""
    with trio.fail_after(20):
        while not _is_tidy(database, cache):  # noqa: ASYNC110
            await trio.sleep(0.05)


def _is_tidy(database: Database, cache: Path) -> bool:
    rows = _rows(database)
    recorded = {row.path for row in rows}
    lying = {str(path.relative_to(cache)) for path in cache.glob("content/*/*")}
    return all((cache / path).is_file() for path in recorded) and lying <= recorded


def it_goes_on(library: Library) -> None:
    """Mounted, followed, verified: as if nothing had happened."""
    library.icloudfs("sync", "--mirror", "demand")
    library.mount("--interval", str(INTERVAL))
    report = check(library.mount_point, library.icloud.url)
    assert not report.differences, report.differences[:10]
    library.icloudfs("verify", "--checksums")
    library.unmount()
