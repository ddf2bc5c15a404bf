"""Figures on one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Figures = dict[str, Any]

_NAME, _COLUMN = 40, 14


def page(figures: Figures) -> str:
    """One figure a line."""
    return "\n".join(f"{name:{_NAME}} {_shown(value)}" for name, value in figures.items())


def table(columns: Sequence[Figures]) -> str:
    """A column for each set of figures, and how many times the last is the first."""
    return "\n".join(_line(name, [column[name] for column in columns]) for name in columns[0])


def _line(name: str, values: list[Any]) -> str:
    ratio = f"{_ratio(values[0], values[-1]):>{_COLUMN}}" if len(values) > 1 else ""
    return f"{name:{_NAME}} {''.join(map(_shown, values))}{ratio}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return f"{'yes' if value else 'no':>{_COLUMN}}"
    if isinstance(value, float):
        return f"{value:>{_COLUMN},.3f}"
    return f"{value:>{_COLUMN},}"


def _ratio(small: Any, large: Any) -> str:
    return f"× {large / small:.2f}" if small and not isinstance(small, bool) else ""


# -- a race ------------------------------------------------------------------------------------------


def race_table(race: Figures) -> str:
    """A line for each figure: raw, as a ratio, and whether it is what it must be."""
    load = race["load_average"]
    head = (
        f"{race['assets']:,} assets, medians of {race['rounds']};"
        f" load average {load['median']:.1f}, at most {load['most']:.1f}"
    )
    titles = (
        f"{'':{_WORK}}{'ms':>5}{'MB/s':>6}{''.join(f'{who:>12}' for who in _ENTRANTS)}{'ratio':>8}"
    )
    return "\n".join([head, "", titles + "  must be", *map(_race_line, race["figures"])])


def _race_line(line: Figures) -> str:
    medians = line["medians"]
    name = f"{line['what']}: {line['figure']}"
    raw = "".join(_raw(medians.get(who)) for who in _ENTRANTS)
    ratio = f"{line['ratio']:>8.3f}" if "ratio" in line else f"{'':8}"
    verdict = {True: "met", False: "MISSED", None: ""}[line["met"]]
    goal = f"  {line['must_be']:40} {verdict}" if line["must_be"] else ""
    line_speed = f"{line['line_mb_s']:.0f}" if line["line_mb_s"] else ""
    return f"{name:{_WORK}}{line['latency_ms']:>5.0f}{line_speed:>6}{raw}{ratio}{goal}"


def _raw(value: float | None) -> str:
    if value is None:
        return f"{'':12}"
    return f"{value:>12,.0f}" if value >= 1000 else f"{value:>12.4g}"


_WORK = 64
_ENTRANTS = ("icloudfs", "rclone", "yardstick", "floor")
