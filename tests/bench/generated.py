"""A state database of any size, without a simulator that holds as many photos.

    python -m tests.bench.generated DATABASE PHOTOS

The database must be that of a library that is listed already, so its zone and its sync tokens are real
ones and current: iCloud says of it "nothing changed". The photos are added by the product's own code for
a page of records of a first listing, and their names settled as at its end, so rows, tree and counts are
what a listing of as many photos would have made. Nobody may have the database open meanwhile.

They are added in the order in which they were taken, so that nobody has to give up a name again: settling
is quicker that way, and comes to the same.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import apsw
import msgspec

from icloudfs.state import catalogue, metadata
from icloudfs.state.database import create
from icloudfs.sync.pages import Tree, store_page
from icloudfs.sync.rebuilding import config_hash
from icloudfs.tree.layout import DEFAULT_VIEWS
from icloudfs.tree.placing import Placing
from icloudfs.tree.settling import contests, settle
from tests.bench.photos import Life

_A_PAGE = 2_000
"""Photos that are stored together."""
_PAGES_A_TRANSACTION = 20
_NAMES_A_STEP = 500
_STEPS_A_TRANSACTION = 100

_CACHE_KIB = 1 << 20
"""Page cache while generating: record names are random, so every page of every index is touched again
and again."""

Report = Callable[[str, int, int], None]
"""What is being done, how much of it is done, of how much."""

T = TypeVar("T")


def generate(path: Path, photos: int, report: Report) -> None:
    """Add that many photos to the personal library of the state database at ``path``."""
    connection = create(path)
    try:
        connection.pragma("cache_size", -_CACHE_KIB)
        connection.pragma("synchronous", "off")
        _Generation(connection, photos, report).run()
        connection.pragma("wal_checkpoint(truncate)")
    finally:
        connection.close()


class _Generation:
    def __init__(self, connection: apsw.Connection, photos: int, report: Report) -> None:
        self._connection = connection
        self._photos = photos
        self._report = report
        now = int(time.time() * 1000)
        self._life = Life(photos, until=now)
        self._tree = Tree(DEFAULT_VIEWS, lambda: now)
        listed = catalogue.zones(connection)[0]
        # A zone without a token would be listed anew, and under other views the tree placed anew.
        assert listed.listed and metadata.get(connection, metadata.CONFIG_HASH) == config_hash(
            self._tree
        )
        self._zone = msgspec.structs.replace(listed, listed=False)

    def run(self) -> None:
        with self._connection:
            self._connection.execute("UPDATE zone SET listed = 0 WHERE id = ?", (self._zone.id,))
        self._store_photos()
        self._settle_names()
        with self._connection:
            catalogue.set_listed(self._connection, self._zone.id)
            # The simulator knows nothing of these albums: there are no counts to compare theirs with.
            catalogue.set_members_due(self._connection, self._zone.id, due=False)

    def _store_photos(self) -> None:
        done = 0
        for pages in _chunks(_chunks(range(self._photos), _A_PAGE), _PAGES_A_TRANSACTION):
            with self._connection:
                for page in pages:
                    records = [record for number in page for record in self._life.records(number)]
                    store_page(self._connection, self._tree, self._zone, records)
                    done += len(page)
            self._report("photos", done, self._photos)

    def _settle_names(self) -> None:
        total = left = contests(self._connection)
        while left:
            with self._connection:
                for _ in range(_STEPS_A_TRANSACTION):
                    self._settle_some()
            left = contests(self._connection)
            self._report("names", total - left, total)

    def _settle_some(self) -> None:
        """One step of the listing, with a Placing of its own as there."""
        placing = Placing(
            self._connection,
            views=self._tree.views,
            now=self._tree.clock(),
            first_listing=True,
            final_names=True,
        )
        settle(self._connection, placing, _NAMES_A_STEP)
        placing.finish()


def _chunks(things: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(things)
    while chunk := list(islice(rest, size)):
        yield chunk


def to_stderr(what: str, done: int, total: int) -> None:
    print(f"{time.strftime('%X')}  {what}: {done:,} of {total:,}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    generate(Path(sys.argv[1]), int(sys.argv[2]), to_stderr)
