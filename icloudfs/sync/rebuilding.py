"""Placing every photo anew, because the tree is built for other views than it was.

Names and inode numbers are kept: they are in the claims and in the records, not in the entries.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from hashlib import blake2b

import apsw

from icloudfs.state import catalogue, metadata
from icloudfs.state.catalogue import Touched
from icloudfs.state.database import Database
from icloudfs.sync.pages import Tree, place
from icloudfs.tree.changes import Change

log = logging.getLogger(__name__)

_A_TRANSACTION = 500


def config_hash(tree: Tree) -> str:
    """What the tree's shape depends on, as a short text."""
    return blake2b("\n".join(sorted(tree.views)).encode(), digest_size=8).hexdigest()


async def rebuild_if_changed(
    database: Database, tree: Tree, publish: Callable[[list[Change]], None]
) -> None:
    """Make the tree what ``tree`` asks for. Cut off half-way, it is done again next time."""
    wanted = config_hash(tree)
    if metadata.get(database.reader, metadata.CONFIG_HASH) == wanted:
        return
    after = 0
    while after >= 0:
        after, _ = await database.write(
            partial(_place_some, tree=tree, after=after), lambda done: publish(done[1])
        )
    await database.write(lambda c: metadata.put(c, metadata.CONFIG_HASH, wanted))


def _place_some(connection: apsw.Connection, tree: Tree, after: int) -> tuple[int, list[Change]]:
    """Place the next photos by id; the last one's id, or -1 at the end."""
    zones = catalogue.zones(connection)
    ids = [
        int(str(ident))
        for (ident,) in connection.execute(
            "SELECT id FROM asset WHERE id > ? ORDER BY id LIMIT ?", (after, _A_TRANSACTION)
        )
    ]
    if not ids:
        return -1, []
    changes = place(connection, tree, zones[0], Touched(assets=dict.fromkeys(ids)))
    return ids[-1], changes
