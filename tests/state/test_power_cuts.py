"""A power cut undoes the last commits, whole ones, and none from before the state was last settled."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import apsw
import pytest
import trio

from icloudfs.state import database, metadata
from icloudfs.state.database import Database
from tests.state.losing_disk import installed

COMMITS = 60


def _commit(state: Database, number: int) -> None:
    def write(connection: apsw.Connection) -> None:
        # Two places that are true of the same moment, and enough between to fill pages.
        metadata.put(connection, "first", str(number))
        metadata.put(connection, f"bulk {number}", "x" * 3000)
        metadata.put(connection, "zeroth", str(number))

    state.write_now(write)


def _left(path: Path) -> int:
    """The last commit that is there; nothing of a later one is."""
    with closing(Database(path)) as state:
        assert state.reader.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        first, zeroth = (metadata.get(state.reader, key) for key in ("first", "zeroth"))
        assert first == zeroth and first is not None
        keys = state.reader.execute("SELECT count(*) FROM metadata WHERE key GLOB 'bulk *'")
        assert keys.fetchall() == [(int(first) + 1,)]
        return int(first)


@pytest.mark.parametrize("is_read", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_what_was_settled_stays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    is_read: bool,
) -> None:
    """Also if somebody reads all the while, and the WAL cannot be folded back."""
    monkeypatch.setattr(database, "CHECKPOINT_PAGES", 20)
    chance = random.Random(seed)
    cuts: list[tuple[Path, int, int]] = []
    settled = 0
    with installed(monkeypatch) as disk, closing(Database(tmp_path / "state.db")) as state:
        _commit(state, 0)
        trio.run(state.settle)
        reading = state.reader.execute("SELECT * FROM metadata") if is_read else None
        if reading is not None:
            next(reading)
        for number in range(1, COMMITS):
            _commit(state, number)
            if chance.random() < 0.1:
                trio.run(state.settle)
                settled = number
            if chance.random() < 0.2:
                disk.cut(tmp_path / f"cut {number}", chance)
                cuts.append((tmp_path / f"cut {number}" / "state.db", settled, number))
        if reading is not None:
            reading.close()
    assert cuts
    for path, at_least, at_most in cuts:
        assert at_least <= _left(path) <= at_most


def test_the_disk_does_lose_what_is_not_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installed(monkeypatch) as disk, closing(Database(tmp_path / "state.db")) as state:
        _commit(state, 0)
        trio.run(state.settle)
        for number in range(1, COMMITS):
            _commit(state, number)
        disk.cut(tmp_path / "cut", random.Random(1))
    assert 0 <= _left(tmp_path / "cut" / "state.db") < COMMITS - 1


def test_a_state_that_was_just_being_made_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is left of its file, and of the journal of its first transactions."""
    chance = random.Random(1)
    cuts: list[Path] = []

    with installed(monkeypatch) as disk:

        def cut() -> None:
            cuts.append(tmp_path / f"cut {len(cuts)}")
            disk.cut(cuts[-1], chance)

        disk.watch = cut
        Database(tmp_path / "state.db").close()
    journals = [folder for folder in cuts if (folder / "state.db-journal").exists()]
    assert journals
    for folder in {*journals[:6], *chance.sample(cuts, 6)}:
        with closing(Database(folder / "state.db")) as state:
            _commit(state, 0)
        assert _left(folder / "state.db") == 0
