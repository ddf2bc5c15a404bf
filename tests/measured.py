"""What tests have measured, printed when all have run: for the conftest of those that measure."""

from __future__ import annotations

import pytest

_notes: list[str] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("what was seen and measured")
    for note in _notes:
        terminalreporter.write_line(note)


@pytest.fixture(scope="session")
def notes() -> list[str]:
    """Lines to be printed when all tests have run."""
    return _notes
