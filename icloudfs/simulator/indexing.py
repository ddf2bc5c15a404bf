"""A library that Apple is still indexing: what reads an index gives a part of it, for a while.

``records/query`` and counts read indexes, which Apple builds when an account meets the web interface for the
first time; ``changes/zone`` reads none (facts/cloudkit.md §1.12).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

FINISHED = "FINISHED"


@dataclass(frozen=True)
class Indexing:
    """How far Apple is with the indexes of one library."""

    until: float
    """Seconds since the epoch at which they are finished."""
    state: str = "RUNNING"
    """What CheckIndexingState says until then; NOT_FINISHED and IN_PROGRESS occur as well."""
    share: int = 3
    """Every index holds the first of so many parts."""

    def part(self, entries: Sequence[T]) -> Sequence[T]:
        """What of an index is there: its beginning."""
        return entries[: self.size(len(entries))]

    def size(self, count: int) -> int:
        """How many of ``count`` entries are there, rounded up."""
        return -(-count // self.share)

    @property
    def progress(self) -> int:
        """In hundredths."""
        return 100 // self.share
