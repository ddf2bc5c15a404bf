"""How far something is, told by whatever takes long to whoever wants to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from icloudfs.units import size

Unit = Literal["items", "bytes"]


class Progress(msgspec.Struct, frozen=True, tag=True):
    """One step. For a bar on a terminal, for ``status``, and over the control socket."""

    what: str
    """'listing', 'albums', 'names', 'downloading' …"""
    done: int = 0
    total: int | None = None
    """None while nobody knows."""
    unit: Unit = "items"

    def __str__(self) -> str:
        shown = size if self.unit == "bytes" else str
        of = "" if self.total is None else f" of {shown(self.total)}"
        return f"{self.what}, {shown(self.done)}{of}"


class Note(msgspec.Struct, frozen=True, tag=True):
    """Something that the person who waits should know now rather than at the end."""

    text: str


IDLE = Progress("idle")
"""Nothing is under way."""

Report = Callable[[Progress | Note], None]
"""Takes a step or a note; must return at once."""


def to_nobody(_: Progress | Note) -> None:
    """The report of what nobody wants to know."""
