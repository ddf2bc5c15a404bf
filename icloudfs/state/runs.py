"""The history of sync: one row a run."""

from __future__ import annotations

import apsw
import msgspec


class Figures(msgspec.Struct):
    """What a run came to."""

    run: int = 0
    """The row."""
    kind: str = ""
    """'listing', 'changes', or both joined with '+'."""
    seen: int = 0
    """CPLAsset records that came."""
    downloaded: int = 0
    failed: int = 0
    calls: int = 0
    received: int = 0
    """Bytes of answers, contents not counted."""
    refused: list[str] = []
    """What iCloud refuses to give, now or since earlier runs, as a person is told."""
    owed: int = 0
    """Records that it refuses one by one."""

    def add_kind(self, kind: str) -> None:
        if kind not in self.kind.split("+"):
            self.kind = f"{self.kind}+{kind}".lstrip("+")


def begin(connection: apsw.Connection, now: float) -> int:
    """A new run; ``now`` in seconds. A row left open by a process that died becomes interrupted: it can
    only be the last, as every run closes the one before it."""
    connection.execute(
        "UPDATE sync_runs SET interrupted = 1 WHERE id = (SELECT max(id) FROM sync_runs)"
        " AND completed_at IS NULL AND NOT interrupted"
    )
    connection.execute("INSERT INTO sync_runs (started_at) VALUES (?)", (now,))
    return connection.last_insert_rowid()


def complete(connection: apsw.Connection, run: int, figures: Figures, now: float) -> None:
    _update(connection, run, figures)
    connection.execute("UPDATE sync_runs SET completed_at = ? WHERE id = ?", (now, run))


def interrupt(connection: apsw.Connection, run: int, figures: Figures, error: str | None) -> None:
    """The run was cut off, by ``error`` or by the end of the process."""
    _update(connection, run, figures)
    connection.execute("UPDATE sync_runs SET interrupted = 1, error = ? WHERE id = ?", (error, run))


def note_contents(connection: apsw.Connection, run: int, downloaded: int, failed: int) -> None:
    """What the run's mirror came to. Contents come after the list, which does not wait for them."""
    connection.execute(
        "UPDATE sync_runs SET assets_downloaded = ?, assets_failed = ? WHERE id = ?",
        (downloaded, failed, run),
    )


def _update(connection: apsw.Connection, run: int, figures: Figures) -> None:
    connection.execute(
        "UPDATE sync_runs SET kind = ?, assets_seen = ?, assets_downloaded = ?, assets_failed = ?,"
        " api_calls = ?, bytes = ?, refused = ? WHERE id = ?",
        (
            figures.kind,
            figures.seen,
            figures.downloaded,
            figures.failed,
            figures.calls,
            figures.received,
            msgspec.json.encode(figures.refused).decode(),
            run,
        ),
    )
