"""A writing connection to a fresh database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from icloudfs.state.database import create


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    made = create(tmp_path / "state.db")
    yield made
    made.close()
