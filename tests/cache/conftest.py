from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from icloudfs.state.database import Database
from tests.cache.server import Server


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "state.db")
    yield database
    database.close()
