"""What a figure must be: beside rclone's, beside a yardstick's, or by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Medians(NamedTuple):
    """What one figure came to."""

    ours: float
    theirs: float
    yardstick: float | None = None

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs if self.theirs else float("inf")

    def beside_yardstick(self) -> float:
        assert self.yardstick is not None
        return self.ours / self.yardstick


class Goal(NamedTuple):
    must_be: str
    is_met: Callable[[Medians], bool]


ahead = Goal("ahead of rclone", lambda medians: medians.ratio < 1)

nearly_nothing = Goal("<= 0.02", lambda medians: medians.ours <= 0.02)
"""Seconds of a processor, which the kernel counts in hundredths."""


def at_most(share: float) -> Goal:
    """Of rclone's."""
    return Goal(f"<= 1/{1 / share:.0f} of rclone's", lambda medians: medians.ratio <= share)


def within(share: float) -> Goal:
    """Ahead of rclone, and so near to the yardstick."""
    return Goal(
        f"ahead, <= {share:.2f} x yardstick",
        lambda medians: medians.ratio < 1 and medians.beside_yardstick() <= share,
    )


def ahead_or_as_fast(share: float, slack: float) -> Goal:
    """So far ahead of rclone, or as fast as the yardstick: faster than that nobody can be."""
    return Goal(
        f"<= 1/{1 / share:.0f} of rclone's, or the kernel's own",
        lambda medians: medians.ratio <= share or medians.beside_yardstick() <= slack,
    )


def between(least: float, most: float) -> Goal:
    return Goal(f"{least:g} to {most:g}", lambda medians: least <= medians.ours <= most)


def exactly(count: float) -> Goal:
    return Goal(f"{count:g}", lambda medians: medians.ours == count)
