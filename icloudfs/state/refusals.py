"""Parts of iCloud that are refused while others are given, as rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw
import msgspec

NOT_ASKED = "NOT_ASKED"
"""``Refusal.code`` of a part that was not asked for, as others of its kind were refused one after the other."""


class Part(msgspec.Struct, frozen=True, order=True):
    """A part of iCloud that can be given or refused by itself."""

    area: str
    zone: str
    """A zone's name; empty for what belongs to the area."""
    part: str
    """What of it: see ``sync.refusals``."""
    told: str = ""
    """The same in a person's words, such as an album's name, where ``part`` does not say it."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.area, self.zone, self.part

    def __str__(self) -> str:
        what = self.told or self.part
        return f"{what} of {self.zone}" if self.zone else f"{what} of the {self.area} area"


class Refusal(msgspec.Struct, frozen=True):
    """A part that is refused. Times in milliseconds since the epoch."""

    part: Part
    code: str
    """CloudKit's, or such as 'HTTP 403'."""
    reason: str
    since: int
    tries: int
    """How often it was refused, at different times."""
    next_at: int
    """From when on it is asked for again."""
    harmless: bool
    """What this account was never given, or what a zone's history stands in for: no failure."""

    def __str__(self) -> str:
        return f"{self.part} ({self.code})"


_COLUMNS = "area, zone, part, told, code, reason, since, tries, next_at, harmless"


def refusals(connection: apsw.Connection) -> list[Refusal]:
    """All of them, by area and zone."""
    query: Callable[..., Any] = connection.execute
    return [
        Refusal(Part(*part), code, reason, since, tries, next_at, bool(harmless))
        for *part, code, reason, since, tries, next_at, harmless in query(
            f"SELECT {_COLUMNS} FROM refused_part ORDER BY area, zone, part"
        )
    ]


def note(connection: apsw.Connection, refusal: Refusal) -> None:
    """A part is refused, perhaps again."""
    part = refusal.part
    connection.execute(
        f"INSERT OR REPLACE INTO refused_part ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(*part.key, part.told, refusal.code, refusal.reason),
            *(refusal.since, refusal.tries, refusal.next_at, int(refusal.harmless)),
        ),
    )


def settle(connection: apsw.Connection, part: Part) -> None:
    """The part was given, all of it."""
    connection.execute("DELETE FROM refused_part WHERE (area, zone, part) = (?, ?, ?)", part.key)


def forget_zone(connection: apsw.Connection, area: str, zone: str) -> None:
    """The zone is gone, and all that was refused of it."""
    connection.execute("DELETE FROM refused_part WHERE area = ? AND zone = ?", (area, zone))


def ask_at_once(connection: apsw.Connection, *, harmless: bool) -> None:
    """No pause any more, for a person who waits. ``harmless``: also for what was refused without harm."""
    which = "" if harmless else " WHERE NOT harmless"
    connection.execute("UPDATE refused_part SET next_at = 0" + which)
