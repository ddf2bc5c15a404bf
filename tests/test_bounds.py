"""The bounds that are written down are those that the program has."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

SEMANTICS = Path(__file__).parents[1] / "docs" / "SEMANTICS.md"
ROWS = re.findall(
    r"^\| [^|]+ \| ([0-9 ]+?)(?: (s|KiB|MiB|characters))? \| `([a-z.]+)\.([A-Z_]+)` \|$",
    SEMANTICS.read_text(),
    re.M,
)
UNITS = {"": 1, "s": 1, "characters": 1, "KiB": 2**10, "MiB": 2**20}


def test_there_is_a_list() -> None:
    assert len(ROWS) >= 35


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[2]}.{row[3]}")
def test_a_bound_is_what_is_written(row: tuple[str, str, str, str]) -> None:
    number, unit, module, name = row
    value = getattr(import_module(f"icloudfs.{module}"), name)
    assert value == int(number.replace(" ", "")) * UNITS[unit]
