"""One page of records becomes one transaction: what iCloud says, where it appears, and the token.

Promise P2 of the design: the state is never behind its own token. Whatever a page touches is stored and
placed together with the token that follows it, so ``kill -9`` at any instant repeats at most one page, and
repeating a page changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import apsw
import msgspec

from icloudfs.apple.records import Album, Asset, Master, Record, Refused, Relation, Tombstone
from icloudfs.state import catalogue
from icloudfs.state.catalogue import StoredZone, Touched
from icloudfs.tree.changes import Change
from icloudfs.tree.layout import View
from icloudfs.tree.placing import Placing

log = logging.getLogger(__name__)


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
    *,
    asked_for: bool = False,
) -> Stored:
    """Store the records of one page and place what they touch, in the caller's transaction.

    ``asked_for``: they are the answer to a look-up of these very records, and as whole as they get.
    """
    page = _newest_of_each(records)
    touched = Touched()
    there = connection, zone.id, zone.listing
    assets = _all(page, Asset)
    masters = _all(page, Master)
    in_part = catalogue.store_masters(*there, masters, touched, asked_for=asked_for)
    in_part += catalogue.store_assets(*there, assets, touched, asked_for=asked_for)
    for album in _all(page, Album):
        if catalogue.store_album(*there, album, touched, asked_for=asked_for):
            in_part.append(album.name)
    catalogue.store_relations(*there, _all(page, Relation), touched)
    gone = [tombstone.name for tombstone in _all(page, Tombstone)]
    for name in gone:
        catalogue.bury(connection, zone.id, name, touched)
    refused = _all(page, Refused)
    catalogue.settle_debts(connection, zone.id, [record.name for record in page])
    for record in refused:
        _owe(connection, zone, record)
    for name in in_part:
        catalogue.owe(connection, zone.id, name, "it came with fewer fields than were asked for")
    for name, why in _to_look_up(page, asked_for=asked_for):
        catalogue.owe(connection, zone.id, name, why)
    # A photo that is restored or shown again comes alone. If that happens while the library is listed, it
    # can be missed in both lists, and its master with it.
    for name in catalogue.without_master(
        connection, zone.id, [a.master for a in assets if a.master]
    ):
        catalogue.owe(connection, zone.id, name, "its photo came without it")
    if not asked_for:
        for name in catalogue.still_wanted(connection, zone.id, gone):
            catalogue.owe(connection, zone.id, name, "it is said to be gone, and its photo is not")
    return Stored(place(connection, tree, zone, touched), len(assets), len(refused))


R = TypeVar("R", bound=Record)


def _all(page: Iterable[Record], kind: type[R]) -> list[R]:
    return [record for record in page if isinstance(record, kind)]


def _newest_of_each(records: Sequence[Record]) -> list[Record]:
    """A record that comes twice counts as it came last."""
    return list({record.name: record for record in records}.values())


def _to_look_up(page: Iterable[Record], *, asked_for: bool) -> Iterator[tuple[str, str]]:
    """Records that a look-up can tell more of, and why: of a master without its original, what Apple made of
    it; of a content without a size, how long it is; of one with an unreadable value, that value."""
    for record in page:
        match record:
            case Master(damaged=True) | Asset(damaged=True) | Album(damaged=True) if not asked_for:
                yield record.name, "it came with a value that cannot be read"
            case Master() | Asset() if catalogue.is_unmeasured(record):
                yield record.name, "iCloud does not tell the size of its content"
            case Master(whole=False, original=None):
                yield record.name, "it came without an original that can be had"


def _owe(connection: apsw.Connection, zone: StoredZone, record: Refused) -> None:
    """Asked for again with the next sync: a record is never passed over in silence."""
    why = f"{record.code}: {record.reason}"
    if record.name:
        catalogue.owe(connection, zone.id, record.name, why)
    else:
        log.warning("%s: a record without a name cannot be had: %s", zone.zone.name, why)


def place(
    connection: apsw.Connection, tree: Tree, zone: StoredZone, touched: Touched
) -> list[Change]:
    """Make the tree equal to the rows that were touched."""
    catalogue.touch_namesakes(connection, touched)
    placing = Placing(connection, views=tree.views, now=tree.clock(), first_listing=not zone.listed)
    placing.place_albums(zone.id, touched.albums)
    placing.place_photos(touched.assets)
    return placing.finish()
