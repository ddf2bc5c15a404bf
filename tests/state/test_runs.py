"""The history of sync."""

from __future__ import annotations

import apsw

from icloudfs.state import runs
from icloudfs.state.runs import Figures


def test_a_run_that_ends_and_one_that_does_not(connection: apsw.Connection) -> None:
    first = runs.begin(connection, 1.5)
    figures = Figures(seen=3, calls=2, received=100)
    figures.add_kind("listing")
    figures.add_kind("changes")
    figures.add_kind("listing")
    runs.complete(connection, first, figures, 2.5)
    second = runs.begin(connection, 3.0)
    runs.interrupt(connection, second, Figures(), "no network")
    runs.begin(connection, 4.0)
    runs.begin(connection, 5.0)
    found = connection.execute(
        "SELECT kind, assets_seen, completed_at, interrupted, error FROM sync_runs ORDER BY id"
    ).fetchall()
    assert found == [
        ("listing+changes", 3, 2.5, 0, None),
        ("", 0, None, 1, "no network"),
        ("", 0, None, 1, None),
        ("", 0, None, 0, None),
    ]
