"""Decisions about the whole tree: names at the end of a first listing, photos no longer recent.

In batches, each in a transaction of the caller's, each safe to repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apsw
import msgspec

from icloudfs.tree.claims import WHOLE_LIBRARY
from icloudfs.tree.layout import View, recent_since
from icloudfs.tree.placing import Placing, album_number, path_number


class Namesakes(msgspec.Struct, frozen=True):
    """Photos that may want the same name in one scope, the one that keeps it first."""

    scope: int
    assets: tuple[int, ...]


# The senior photo comes first: one of a library that was listed before, then the one added first.
_SENIORITY = "z.listed DESC, coalesce(a.added, a.created), a.name"

_IN_MONTHS = f"""
SELECT a.month, group_concat(a.id ORDER BY {_SENIORITY}) FROM asset a JOIN zone z ON z.id = a.zone
 WHERE a.stem <> '' GROUP BY a.stem, a.month HAVING count(*) > 1 AND min(z.listed) = 0
"""

_IN_LIBRARY = f"""
SELECT group_concat(a.id ORDER BY {_SENIORITY}) FROM asset a JOIN zone z ON z.id = a.zone
 WHERE a.stem <> '' GROUP BY a.stem HAVING count(*) > 1 AND min(z.listed) = 0
"""

_IN_ALBUMS = f"""
SELECT z.name, r.album, group_concat(a.id ORDER BY r.created, {_SENIORITY})
  FROM relation r JOIN asset a ON a.zone = r.zone AND a.name = r.asset JOIN zone z ON z.id = a.zone
 WHERE a.stem <> '' AND z.listed = 0 AND NOT (a.hidden OR a.deleted OR a.expunged)
 GROUP BY r.zone, r.album, a.stem HAVING count(*) > 1
"""


def namesakes(connection: apsw.Connection) -> Iterator[Namesakes]:
    """Every clash that a library listed for the first time takes part in."""
    for month, assets in connection.execute(_IN_MONTHS):
        yield Namesakes(_integer(month), _ids(assets))
    for (assets,) in connection.execute(_IN_LIBRARY):
        yield Namesakes(WHOLE_LIBRARY, _ids(assets))
    for zone, album, assets in connection.execute(_IN_ALBUMS):
        yield Namesakes(album_number(str(zone), str(album)), _ids(assets))


def _ids(joined: apsw.SQLiteValue) -> tuple[int, ...]:
    return tuple(map(int, str(joined).split(",")))


def _integer(value: apsw.SQLiteValue) -> int:
    assert isinstance(value, int)
    return value


def settle(groups: Iterable[Namesakes], placing: Placing) -> None:
    """Decide the names of these photos again, the senior one first, and place those that changed."""
    renamed: set[int] = set()
    for group in groups:
        renamed |= placing.claim_in_order(group.scope, group.assets)
    placing.withdraw_photos(renamed)  # all of them first: two photos may have swapped their names
    placing.place_photos(renamed)


def no_longer_recent(connection: apsw.Connection, now: int) -> list[int]:
    """Photos that are in ``Recent`` and were added too long before ``now`` (milliseconds)."""
    return [
        _integer(asset)
        for (asset,) in connection.execute(
            "SELECT DISTINCT a.id FROM dirent d JOIN inode i ON i.ino = d.ino"
            " JOIN asset a ON a.id = i.asset WHERE d.parent = ? AND a.added <= ?",
            (path_number(View.RECENT), recent_since(now)),
        )
    ]
