"""Whether everything that iCloud has is known: until then a folder must not look complete.

A library is complete once all of its photos were stored; its albums once their members were compared with
iCloud's counts after that. Neither is ever taken back: what is listed anew stays as it was until iCloud says
that it is gone; but without the personal library nothing is complete. What iCloud refuses to give is missing
for as long as it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw

from icloudfs.apple.wire import PRIMARY_ZONE
from icloudfs.state import metadata

ALBUM_PARTS = "(part = 'albums' OR part GLOB 'folder:*' OR part GLOB 'members:*')"
"""The refused parts (sync/refusals.py) without which albums are not whole."""

_UNHEARD_OF = (
    f"(NOT EXISTS (SELECT 1 FROM zone WHERE name = '{PRIMARY_ZONE}')"
    f" OR NOT EXISTS (SELECT 1 FROM metadata WHERE key = '{metadata.LISTED_ONCE}')"
    " OR EXISTS (SELECT 1 FROM refused_part WHERE zone = '' AND part = 'library names' AND NOT harmless))"
)
"""Whether there may be libraries that nobody has told of. The personal one is there as long as there is iCloud
Photos: without it nothing is complete, since a folder that is empty because iCloud Photos was turned off, or
because iCloud was wrong once, must not look like one whose photos were deleted."""

_INCOMPLETE = (
    f"{_UNHEARD_OF} OR EXISTS (SELECT 1 FROM zone WHERE NOT (complete AND albums_complete))"
)


def is_complete(connection: apsw.Connection) -> bool:
    """Whether every library is known, with every album that iCloud gives."""
    return not _asked(connection, _INCOMPLETE)


def misses_nothing(connection: apsw.Connection) -> bool:
    """The same, and no album is refused."""
    refused = f"EXISTS (SELECT 1 FROM refused_part WHERE NOT harmless AND {ALBUM_PARTS})"
    return not _asked(connection, f"{_INCOMPLETE} OR {refused}")


def own_library_is_complete(connection: apsw.Connection) -> bool:
    """Whether all photos of the personal library are known."""
    return _asked(
        connection, f"EXISTS (SELECT 1 FROM zone WHERE name = '{PRIMARY_ZONE}' AND complete)"
    )


def shared_libraries_are_complete(connection: apsw.Connection) -> bool:
    """Whether all photos of every other library are known, and every library."""
    others = f"EXISTS (SELECT 1 FROM zone WHERE name <> '{PRIMARY_ZONE}' AND NOT complete)"
    return not _asked(connection, f"{_UNHEARD_OF} OR {others}")


def refused_albums(connection: apsw.Connection) -> list[tuple[str, str]]:
    """The zones and names of the refused parts without which albums are not whole."""
    query: Callable[..., Any] = connection.execute
    return [
        (str(zone), str(part))
        for zone, part in query(
            f"SELECT zone, part FROM refused_part WHERE NOT harmless AND {ALBUM_PARTS}"
        )
    ]


def note(connection: apsw.Connection, zones: list[int], *, heard_of_all: bool) -> None:
    """At the end of a run: nothing of these zones is still to come. ``heard_of_all``: nor is there a zone that
    nobody has told of."""
    connection.executemany(
        "UPDATE zone SET complete = 1, albums_complete = 1 WHERE id = ?", [(id,) for id in zones]
    )
    if heard_of_all:
        metadata.put(connection, metadata.LISTED_ONCE, "yes")


def is_noted(connection: apsw.Connection, zones: list[int], *, heard_of_all: bool) -> bool:
    """Whether that is written there already."""
    query: Callable[..., Any] = connection.execute
    noted = {ident for (ident,) in query("SELECT id FROM zone WHERE complete AND albums_complete")}
    said = metadata.get(connection, metadata.LISTED_ONCE) is not None
    return noted.issuperset(zones) and (said or not heard_of_all)


def _asked(connection: apsw.Connection, question: str) -> bool:
    row = connection.execute(f"SELECT {question}").fetchone()
    return row is not None and bool(row[0])
