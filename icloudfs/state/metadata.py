"""Single values: sync tokens, where the cache lies, what the tree was built for."""

from __future__ import annotations

import apsw

CACHE_DIRECTORY = "cache_directory"
CACHE_WHICH = "cache_which"
CONFIG_HASH = "config_hash"
LISTED_ONCE = "listed_once"
"""Stands there once a run came to its end that looked at every area: no library is unheard of any more."""
QUOTA_TOTAL = "quota_total"
QUOTA_USED = "quota_used"


def sync_token_key(zone_name: str) -> str:
    """Where the token lies that follows the last page of changes of a zone."""
    return f"sync_token:{zone_name}"


def listing_token_key(zone_name: str) -> str:
    """Where the token of the first page of a listing under way lies."""
    return f"listing_token:{zone_name}"


def listing_began_key(zone_name: str) -> str:
    """Where the token of a listing's first page stays: the one above moves on with the changes."""
    return f"listing_began:{zone_name}"


def history_token_key(zone_name: str) -> str:
    """Where the place lies up to which a listing under way has read the zone's whole history."""
    return f"history_token:{zone_name}"


def relations_token_key(zone_name: str) -> str:
    """Where the place in a zone's history lies up to which it was read for relations."""
    return f"relations_token:{zone_name}"


def database_token_key(area: str) -> str:
    """Where the token of an area's last complete look at its changed zones lies."""
    return f"database_token:{area}"


def all_zones_key(area: str) -> str:
    """When all zones of an area were last looked at, milliseconds since the epoch."""
    return f"all_zones:{area}"


def put_token(connection: apsw.Connection, key: str, token: str, now: int) -> None:
    """Keep a token, and when it came; ``now`` in milliseconds since the epoch."""
    put(connection, key, token)
    put(connection, _received_key(key), str(now))


def move_token(connection: apsw.Connection, key: str, to: str) -> None:
    """What one key held, another holds from now on. There must be a token."""
    for old, new in ((key, to), (_received_key(key), _received_key(to))):
        connection.execute("UPDATE OR REPLACE metadata SET key = ? WHERE key = ?", (new, old))


def remove_token(connection: apsw.Connection, key: str) -> None:
    remove(connection, key)
    remove(connection, _received_key(key))


def forget_listing(connection: apsw.Connection, zone_name: str) -> None:
    """A listing that was under way begins anew, or is over."""
    for key in (listing_token_key, listing_began_key, history_token_key):
        remove_token(connection, key(zone_name))


def token_received(connection: apsw.Connection, key: str) -> int | None:
    """When the token came, milliseconds since the epoch; None if there is none, or nobody noted it."""
    received = get(connection, _received_key(key))
    return None if received is None else int(received)


def _received_key(key: str) -> str:
    return f"received:{key}"


def get(connection: apsw.Connection, key: str) -> str | None:
    row = connection.execute("SELECT value FROM metadata WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def put(connection: apsw.Connection, key: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO metadata VALUES (?, ?)", (key, value))


def remove(connection: apsw.Connection, key: str) -> None:
    connection.execute("DELETE FROM metadata WHERE key = ?", (key,))
