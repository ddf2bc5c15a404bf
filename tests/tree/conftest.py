"""An empty library, listed and not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tree.library import Library


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """A library whose first listing is over: names stand."""
    made = Library(tmp_path)
    yield made
    made.connection.close()


@pytest.fixture
def unlisted(tmp_path: Path) -> Iterator[Library]:
    """A library during its first listing."""
    made = Library(tmp_path, listed=False)
    yield made
    made.connection.close()
