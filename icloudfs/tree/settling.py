"""Decisions about the whole tree: names at the end of a first listing, photos no longer recent.

In steps, each in a transaction of the caller's, each safe to repeat.
"""

from __future__ import annotations

from typing import NamedTuple

import apsw
import msgspec

from icloudfs.state import catalogue
from icloudfs.tree import layout, names, numbers
from icloudfs.tree.claims import WHOLE_LIBRARY, Claims, Held
from icloudfs.tree.layout import Photo, View, recent_since
from icloudfs.tree.naming import Naming
from icloudfs.tree.placing import Placing, read_photos


def contests(connection: apsw.Connection) -> int:
    """How many names are still to be decided; for a progress bar."""
    return _integer(connection.execute("SELECT count(*) FROM contest").fetchall()[0][0])


def settle(connection: apsw.Connection, placing: Placing, limit: int) -> int:
    """Decide up to ``limit`` contested names anew, the photo that was added first, first, and place
    the photos that are called differently now. How many of ``contests`` that ended.
    """
    wanted = [
        (_integer(scope), str(key))
        for scope, key in connection.execute("SELECT scope, key FROM contest LIMIT ?", (limit,))
    ]
    contest = _Contest(connection)
    contest.look_up(wanted)
    for scope, key in wanted:
        contest.decide(scope, key)
    contest.write()
    placing.place_together(sorted(contest.renamed))
    return contest.ended


_RIVALS = """
WITH wanted AS (SELECT value ->> 0 AS scope, value ->> 1 AS key FROM json_each(?))
SELECT owner FROM wanted JOIN claim USING (scope, key)
UNION SELECT asset FROM wanted JOIN contest USING (scope, key)
"""


class _Rival(NamedTuple):
    """A photo that may be in a contest."""

    photo: Photo
    naming: Naming
    held: Held


class _Contest:
    """Decides contested names, one connected group of photos at a time."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        # Not provisional: these decisions stand.
        self._claims = Claims(connection, provisional=False)
        self._listed = {stored.id for stored in catalogue.zones(connection) if stored.listed}
        self._known: dict[int, _Rival | None] = {}
        self._decided: set[tuple[int, str]] = set()
        self.renamed: set[int] = set()
        self.ended = 0

    def look_up(self, wanted: list[tuple[int, str]]) -> None:
        """Fetch everybody who has or wants one of these names at once; the rest comes by and by."""
        rivals = self._connection.execute(_RIVALS, (msgspec.json.encode(wanted).decode(),))
        self._fetch({_integer(asset) for (asset,) in rivals})

    def decide(self, scope: int, key: str) -> None:
        """Decide a name, and every other that the photos who want it want, too."""
        if (scope, key) in self._decided:
            return
        group, keys = self._group(scope, key)
        self._decided.update((scope, key) for key in keys)
        for rival in group:
            self._claims.release(rival.photo.id, scope, rival.held.get(scope, set()))
        for rival in self._by_age(scope, group):
            decided = rival.naming.decide(self._claims, scope, {})
            if {names.fold(name.decode()) for name in decided} != rival.held.get(scope):
                self.renamed.add(rival.photo.id)
        self.ended += self._claims.end_contest(scope, keys)

    def write(self) -> None:
        """Write what was decided."""
        self._claims.write()

    def _group(self, scope: int, key: str) -> tuple[list[_Rival], set[str]]:
        """Everybody who is in the contest by way of any name, and those names.

        Photos of a library that was listed before are not: their names stand.
        """
        group: dict[int, _Rival] = {}
        keys: set[str] = set()
        waiting = {key}
        while waiting:
            name = waiting.pop()
            keys.add(name)
            holder = self._claims.holder(scope, name)
            rivals = self._claims.contestants(scope, name) | ({holder} if holder else set())
            self._fetch(rivals - self._known.keys())
            for asset in rivals - group.keys():
                rival = self._known[asset]
                # One that wanted the name once and has another rendition or file name by now is out.
                if rival is not None and name in rival.naming.keys(0):
                    group[asset] = rival
                    waiting.update(set(rival.naming.keys(0)) - keys)
        return list(group.values()), keys

    def _fetch(self, assets: set[int]) -> None:
        if not assets:
            return
        self._known.update(dict.fromkeys(assets))
        held = self._claims.held_by(assets)
        for photo, zone in read_photos(self._connection, assets):
            stem = layout.stem(photo)
            files = list(layout.files(photo, stem))
            if files and zone not in self._listed:
                naming = Naming(photo, stem, files)
                self._known[photo.id] = _Rival(photo, naming, held.get(photo.id, {}))

    def _by_age(self, scope: int, group: list[_Rival]) -> list[_Rival]:
        """In an album the one that was put there first comes first."""
        joined = {} if scope == WHOLE_LIBRARY else self._joined(scope, [r.photo for r in group])
        return sorted(
            group, key=lambda r: (joined.get(r.photo.id, 0), r.photo.seniority, r.photo.name)
        )

    def _joined(self, scope: int, photos: list[Photo]) -> dict[int, int]:
        """When each came into the album whose directory is ``scope``; nothing for a month."""
        found: dict[int, int] = {}
        for photo in photos:
            for zone, album, created in self._connection.execute(
                "SELECT z.name, r.album, r.created FROM relation r JOIN zone z ON z.id = r.zone"
                " WHERE r.asset = ?",
                (photo.name,),
            ):
                if numbers.of_album(str(zone), str(album)) == scope:
                    found[photo.id] = _integer(created)
        return found


def no_longer_recent(connection: apsw.Connection, now: int) -> list[int]:
    """Photos that are in ``Recent`` and were added too long before ``now`` (milliseconds).

    Inode numbers begin with the second of adding, so this looks at those that have to go and no others;
    ``added`` itself decides, as it may have changed since the number was given.
    """
    since = recent_since(now)
    return [
        _integer(asset)
        for (asset,) in connection.execute(
            "SELECT DISTINCT a.id FROM dirent d JOIN inode i ON i.ino = d.ino"
            " JOIN asset a ON a.id = i.asset WHERE d.parent = ? AND d.ino < ? AND a.added <= ?",
            (numbers.of_path(View.RECENT), numbers.first_added_in(since // 1000 + 1), since),
        )
    ]


def _integer(value: apsw.SQLiteValue) -> int:
    assert isinstance(value, int)
    return value
