"""For every layer: a scratch folder that must be left as clean as it was found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scratch import Scratch, scratch_folder


@pytest.fixture
def scratch() -> Iterator[Scratch]:
    """A folder and an environment of its own; fails on leftover mounts and processes."""
    with scratch_folder() as scratch:
        yield scratch
