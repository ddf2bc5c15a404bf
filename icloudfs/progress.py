"""How far something is, told by whatever takes long to whoever wants to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec


class Progress(msgspec.Struct, frozen=True, tag=True):
    """One step. For a bar on a terminal, for ``status``, and over the control socket."""

    what: str
    """'listing', 'albums', 'names', 'downloading' …"""
    done: int = 0
    total: int | None = None
    """None while nobody knows."""
    unit: Literal["items", "bytes"] = "items"


Report = Callable[[Progress], None]
"""Takes a step; must return at once."""


def to_nobody(progress: Progress) -> None:
    """The report of what nobody wants to know."""
