"""How often the random test runs, and from which seed on: by the environment."""

from __future__ import annotations

import os

import pytest

_RUNS = int(os.environ.get("ICLOUDFS_RANDOM_RUNS", "24"))
_FIRST = int(os.environ.get("ICLOUDFS_RANDOM_SEED", "1"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(_FIRST, _FIRST + _RUNS))
    if "weather_seed" in metafunc.fixturenames:
        metafunc.parametrize("weather_seed", range(_FIRST, _FIRST + -(-_RUNS // 3)))
