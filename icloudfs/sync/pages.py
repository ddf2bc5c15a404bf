"""One page of records becomes one transaction: what iCloud says, where it appears, and the token.

Promise P2 of the design: the state is never behind its own token. Whatever a page touches is stored and
placed together with the token that follows it, so ``kill -9`` at any instant repeats at most one page, and
repeating a page changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import apsw
import msgspec

from icloudfs.apple.records import Album, Asset, Master, Record, Refused, Relation, Tombstone
from icloudfs.state import catalogue
from icloudfs.state.catalogue import StoredZone, Touched
from icloudfs.tree.changes import Change
from icloudfs.tree.layout import View
from icloudfs.tree.placing import Placing


class Tree(msgspec.Struct, frozen=True):
    """How the tree is built: what every page must agree on."""

    views: frozenset[View]
    clock: Callable[[], int]
    """Milliseconds since the epoch."""


class Stored(msgspec.Struct):
    """What storing a page came to."""

    changes: list[Change] = []
    assets: int = 0
    """CPLAsset records on the page."""
    refused: int = 0
    """Records that CloudKit did not give."""


def store_page(
    connection: apsw.Connection,
    tree: Tree,
    zone: StoredZone,
    records: Sequence[Record],
) -> Stored:
    """Store the records of one page and place what they touch, in the caller's transaction."""
    stored = Stored()
    touched = Touched()
    for record in _newest_of_each(records):
        catalogue.settle_debt(connection, zone.id, record.name)
        _store(connection, zone, record, touched, stored)
    stored.changes = place(connection, tree, zone, touched)
    return stored


def _newest_of_each(records: Sequence[Record]) -> Iterable[Record]:
    """A record that comes twice counts as it came last."""
    return {record.name: record for record in records}.values()


def _store(
    connection: apsw.Connection,
    zone: StoredZone,
    record: Record,
    touched: Touched,
    stored: Stored,
) -> None:
    match record:
        case Master():
            catalogue.store_master(connection, zone.id, zone.listing, record, touched)
        case Asset():
            stored.assets += 1
            catalogue.store_asset(connection, zone.id, zone.listing, record, touched)
        case Album():
            catalogue.store_album(connection, zone.id, zone.listing, record, touched)
        case Relation():
            catalogue.store_relation(connection, zone.id, zone.listing, record, touched)
        case Tombstone():
            catalogue.bury(connection, zone.id, record.name, touched)
        case Refused():
            # Asked for again with the next sync: a record is never passed over in silence.
            catalogue.owe(connection, zone.id, record.name, f"{record.code}: {record.reason}")
            stored.refused += 1
        case _:
            pass  # memories, faces, counters: nothing that is a file


def place(
    connection: apsw.Connection, tree: Tree, zone: StoredZone, touched: Touched
) -> list[Change]:
    """Make the tree equal to the rows that were touched."""
    placing = Placing(connection, views=tree.views, now=tree.clock(), first_listing=not zone.listed)
    placing.place_albums(zone.id, touched.albums)
    placing.place_photos(touched.assets)
    return placing.finish()
