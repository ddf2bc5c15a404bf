"""``kill -9`` at any moment: nothing twice, nothing lost, nothing asked for again that is here."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.scratch import Scratch, scratch_folder, wait_until
from tests.whole.library import Library, checksum_of
from tests.whole.local_icloud import LocalICloud

ASSETS = 1500
CONNECTIONS = 2
"""Requests at a time, so that as many pages at most are lost with a killed daemon."""
MIB = 1 << 20


@pytest.fixture(scope="module")
def large_icloud() -> Iterator[LocalICloud]:
    with scratch_folder() as scratch:
        icloud = LocalICloud(scratch, assets=ASSETS)
        yield icloud
        icloud.stop()


@pytest.fixture
def newcomer(large_icloud: LocalICloud, scratch: Scratch) -> Iterator[Library]:
    """Signed in to a library of some pages, nothing listed."""
    library = Library(large_icloud, scratch)
    library.environment["ICLOUDFS_CONNECTIONS"] = str(CONNECTIONS)
    library.login()
    yield library
    large_icloud.control.clear_faults()
    library.end()


def rows(library: Library) -> list[tuple[str, str]]:
    """(zone, asset) of every row: what is there, however often."""
    with library.database() as connection:
        found = connection.execute(
            "SELECT zone.name, asset.name FROM asset JOIN zone ON zone.id = asset.zone"
        )
        return sorted(found.fetchall())


def all_listed(library: Library) -> bool:
    status = library.status()
    zones = status.get("zones", [])
    return bool(zones) and all(zone["listed"] for zone in zones)


def photo_pages(icloud: LocalICloud) -> int:
    """Pages of photos that were asked for; those of the few albums are small and asked for each time."""
    return sum(
        call["bytes_out"] > 50_000 or not call["bytes_out"]
        for call in icloud.calls(path="/records/query")
    )


def test_killed_during_the_first_listing(newcomer: Library, scratch: Scratch) -> None:
    icloud = newcomer.icloud
    undisturbed = Library(icloud, scratch, "undisturbed")
    undisturbed.environment["ICLOUDFS_CONNECTIONS"] = str(CONNECTIONS)
    undisturbed.take_state_of(newcomer)
    icloud.control.reset_traffic()
    undisturbed.sync()
    pages = photo_pages(icloud)
    icloud.control.set_fault("query", "delay", seconds=0.5)
    icloud.control.reset_traffic()

    seen = [0]
    for _ in range(3):
        newcomer.mount()
        wait_until(lambda: len(rows(newcomer)) >= seen[-1] + 150, 30)
        assert not all_listed(newcomer)
        newcomer.kill()
        seen.append(newcomer.status()["assets"]["total"])
    icloud.control.clear_faults()
    newcomer.mount()
    wait_until(lambda: all_listed(newcomer), 30)

    truth = sorted((entry["zone"], entry["asset"]) for entry in icloud.manifest())
    assert rows(newcomer) == truth
    assert 0 < seen[1] < seen[2] < seen[3] < len(truth)
    assert newcomer.status()["assets"] == undisturbed.status()["assets"]
    names = sorted(str(p.relative_to(newcomer.mount_point)) for p in newcomer.files())
    newcomer.unmount()
    undisturbed.mount()
    assert names == sorted(str(p.relative_to(undisturbed.mount_point)) for p in undisturbed.files())
    undisturbed.unmount()
    # A killed daemon loses what was on its way: a page a connection, and as many that are being stored.
    again = photo_pages(icloud) - pages
    print(f"\n{pages} pages; killed with {seen[1:]} of {len(truth)} photos; {again} asked again")
    assert again <= 3 * 2 * CONNECTIONS


def recorded(library: Library, checksum: str) -> int:
    """Bytes of a content of which the database says that they are on disk."""
    with library.database() as connection:
        row = connection.execute(
            "SELECT ranges FROM content WHERE checksum = ?", (checksum,)
        ).fetchone()
    return sum(stop - start for start, stop in json.loads(row[0])) if row else 0


@pytest.mark.parametrize(
    "pattern, rate", [(r"HUGE\.MOV", 12 * MIB), (r"LARGE_1", MIB)], ids=["streamed", "whole"]
)
def test_killed_during_a_download(
    library: Library, icloud: LocalICloud, scratch: Scratch, pattern: str, rate: int
) -> None:
    library.mount()
    file = library.uncached(pattern)
    checksum, size = checksum_of(file), file.stat().st_size
    icloud.control.set_fault("content", "throttle", bytes_per_second=rate)
    reader = scratch.start("cat", file, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: recorded(library, checksum) > size // 5)

    library.kill()
    assert reader.wait(10) != 0
    kept = recorded(library, checksum)
    wait_until(lambda: all(call["status"] for call in icloud.calls(kind="content")))
    icloud.control.clear_faults()
    icloud.control.reset_traffic()
    library.mount()

    assert file.read_bytes() == library.truth(file)
    print(f"\n{size} bytes, {kept} kept, {icloud.sent(checksum)} fetched after the kill")
    assert size // 5 < kept < size
    assert icloud.sent(checksum) == size - kept
    assert [row["checksum"] for row in library.status("--downloaded")["listed"]] == [checksum]
