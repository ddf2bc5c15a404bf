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
