"""Opening, migrating, sharing and losing the state database."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import apsw
import pytest
import trio
import trio.lowlevel
import trio.testing

from icloudfs.errors import DiskFull, IcloudfsError, StateDamaged, StateTooNew
from icloudfs.state import database, metadata, schema
from icloudfs.state.database import Database, connect, create, database_path


def digest(directory: Path) -> dict[str, str]:
    """Every file of a directory by its content."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()
    }


def test_a_fresh_database(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.db"
    connection = create(path)
    assert connection.pragma("user_version") == schema.VERSION
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("foreign_keys") == 1
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    metadata.put(connection, "a", "b")
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        assert stat.S_IMODE((path.parent / name).stat().st_mode) == 0o600, name
    connection.close()
    again = create(path)
    assert metadata.get(again, "a") == "b"
    again.close()


def test_every_version_migrates_with_its_data(tmp_path: Path) -> None:
    """From each earlier version on."""
    for version in range(1, schema.VERSION + 1):
        path = tmp_path / f"{version}.db"
        old = apsw.Connection(str(path))
        for step in schema.MIGRATIONS[:version]:
            step(old)
        old.pragma("user_version", version)
        old.execute("INSERT INTO metadata VALUES ('database_token:private', 'kept')")
        old.close()
        new = create(path)
        assert new.pragma("user_version") == schema.VERSION
        assert metadata.get(new, "database_token:private") == "kept"
        new.close()


def test_a_migration_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    create(path).close()

    def fails(connection: apsw.Connection) -> None:
        connection.execute("CREATE TABLE half (x)")
        raise RuntimeError

    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, fails))
    with pytest.raises(RuntimeError):
        create(path)
    monkeypatch.undo()
    connection = create(path)
    assert connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'half'").fetchall() == []
    connection.close()


@pytest.mark.parametrize("with_wal", [False, True])
def test_a_newer_version_is_refused_and_left_untouched(tmp_path: Path, with_wal: bool) -> None:
    """Byte for byte, and even if its last writer was killed and left a WAL behind."""
    path = tmp_path / "made" / "state.db"
    connection = create(path)
    connection.pragma("user_version", schema.VERSION + 1)
    there = tmp_path / "there"
    if with_wal:
        subprocess.run(["cp", "-r", str(path.parent), str(there)], check=True)
        (there / "state.db-shm").unlink()
        connection.close()
    else:
        connection.close()
        path.parent.rename(there)
    before = digest(there)
    for opening in (create, lambda p: connect(p, write=True), lambda p: connect(p, write=False)):
        with pytest.raises(StateTooNew, match=str(schema.VERSION + 1)):
            opening(there / "state.db")
        after = digest(there)
        assert {name: after[name] for name in before} == before


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"holiday pictures " * 1000)
    before = digest(tmp_path)
    for opening in (create, lambda p: connect(p, write=False)):
        with pytest.raises(StateDamaged, match=r"state\.db"):
            opening(path)
    assert digest(tmp_path) == before


def test_a_damaged_page(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = create(path)
    connection.executemany(
        "INSERT INTO metadata VALUES (?, ?)", [(f"key {n}", "x" * 100) for n in range(2000)]
    )
    connection.close()
    with path.open("r+b") as file:
        for page in range(30, 50):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    with pytest.raises(StateDamaged), closing(Database(path)) as opened:
        opened.write_now(lambda c: c.execute("UPDATE metadata SET value = 'y'"))


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateDamaged, match="cannot be made"):
        create(tmp_path / "file" / "state.db")
    with pytest.raises(StateDamaged):
        connect(tmp_path / "missing.db", write=False)
    with pytest.raises(StateDamaged):
        create(tmp_path)


def test_names_of_accounts() -> None:
    assert database_path(Path("/d"), "Alice@Example.com") == Path("/d/alice@example.com.db")
    odd = database_path(Path("state"), "../a/b")
    assert odd.parent == Path("state") and not odd.name.startswith(".")
    # Two Apple IDs never share a state.
    assert database_path(Path("state"), "a b@c.d") != database_path(Path("state"), "a_b@c.d")


async def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    opened = Database(tmp_path / "state.db")

    def fails(connection: apsw.Connection) -> None:
        metadata.put(connection, "a", "b")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await opened.write(fails)
    assert metadata.get(opened.reader, "a") is None
    await opened.write(lambda c: metadata.put(c, "a", "b"))
    assert metadata.get(opened.reader, "a") == "b"
    opened.close()


async def test_cancelled_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """The thread is waited for and its result is not lost; the next write finds all in order."""
    opened = Database(tmp_path / "state.db")
    results = []
    with trio.CancelScope() as scope:

        def slow(connection: apsw.Connection) -> str:
            trio.from_thread.run_sync(scope.cancel)
            metadata.put(connection, "a", "b")
            return "done"

        results.append(await opened.write(slow))
        await trio.lowlevel.checkpoint()
        results.append("not reached")
    assert results == ["done"]
    assert metadata.get(opened.reader, "a") == "b"
    with trio.CancelScope() as scope:
        scope.cancel()
        await opened.write(lambda c: metadata.put(c, "never", "written"))
    assert metadata.get(opened.reader, "never") is None
    await opened.write(lambda c: metadata.put(c, "c", "d"))
    opened.close()


async def test_a_long_write_delays_no_look_up(tmp_path: Path) -> None:
    opened = Database(tmp_path / "state.db")
    seen = []

    def slow(connection: apsw.Connection) -> None:
        metadata.put(connection, "a", "b")
        seen.append(trio.from_thread.run_sync(metadata.get, opened.reader, "a"))

    await opened.write(slow)
    assert seen == [None]
    opened.close()


def test_a_full_disk(tmp_path: Path) -> None:
    opened = Database(tmp_path / "state.db")
    opened.write_now(lambda c: metadata.put(c, "a", "b"))
    pages = opened.write_now(lambda c: c.pragma("page_count"))
    opened.write_now(lambda c: c.pragma("max_page_count", pages))
    with pytest.raises(DiskFull, match="full"):
        opened.write_now(lambda c: metadata.put(c, "a", "x" * 100_000))
    assert metadata.get(opened.reader, "a") == "b"
    opened.write_now(lambda c: c.pragma("max_page_count", 1_000_000))
    opened.write_now(lambda c: metadata.put(c, "a", "x" * 100_000))
    assert opened.reader.pragma("integrity_check") == "ok"
    opened.close()


def test_a_disk_that_takes_no_more_bytes(tmp_path: Path) -> None:
    """The same with real writes that fail: the file may not grow beyond what it has."""
    opened = Database(tmp_path / "state.db")
    opened.write_now(lambda c: metadata.put(c, "a", "b"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(IcloudfsError):
            opened.write_now(lambda c: metadata.put(c, "a", "x" * 1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert metadata.get(opened.reader, "a") == "b"
    opened.write_now(lambda c: metadata.put(c, "a", "after"))
    assert opened.reader.pragma("integrity_check") == "ok"
    opened.close()


def test_another_process_writes_for_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 50)
    opened, other = Database(tmp_path / "state.db"), connect(tmp_path / "state.db", write=True)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(IcloudfsError, match="Another process"):
        opened.write_now(lambda c: metadata.put(c, "a", "b"))
    other.execute("ROLLBACK")
    opened.write_now(lambda c: metadata.put(c, "a", "b"))
    other.close()
    opened.close()


def test_two_processes_make_one_database(tmp_path: Path) -> None:
    """Ten at once create, migrate and write; nothing is lost."""
    path = tmp_path / "state.db"
    code = (
        "import sys, pathlib; from icloudfs.state.database import Database\n"
        "d = Database(pathlib.Path(sys.argv[1]))\n"
        "for n in range(20): d.write_now(lambda c: c.execute("
        "'INSERT INTO metadata VALUES (?, ?)', (sys.argv[2] + str(n), '')))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(path), f"p{n} "]) for n in range(10)
    ]
    assert [process.wait(timeout=60) for process in running] == [0] * 10
    connection = connect(path, write=False)
    assert connection.execute("SELECT count(*) FROM metadata").fetchall() == [(200,)]
    connection.close()


def test_the_contract_is_read_by_any_sqlite(tmp_path: Path) -> None:
    """DESIGN §3: the columns that scripts rely on, with the standard library's module."""
    path = tmp_path / "state.db"
    opened = Database(path)
    opened.write_now(_fill)
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    rows = reader.execute(
        "SELECT asset_id, status, checksum, filename, local_path, download_attempts, last_error,"
        " created_at, downloaded_at FROM assets ORDER BY asset_id"
    ).fetchall()
    assert rows == [
        ("A", "downloaded", "sum A", "A.HEIC", "/cache/aa/A", 1, None, 1.5, 2.5),
        ("B", "failed", "sum B", "B.HEIC", None, 3, "no luck", None, None),
        ("C", "pending", "sum C", "C.HEIC", None, 0, None, 1.5, None),
        ("D", "downloaded", "sum D", "D.HEIC", "/mine/D.HEIC", 1, None, 1.5, 2.5),
        ("E", "pending", "sum E2", "E.HEIC", None, 0, None, 1.5, None),
    ]
    assert reader.execute(
        "SELECT key, value FROM metadata WHERE key LIKE 'sync_token:%'"
    ).fetchall()
    assert reader.execute(
        "SELECT started_at, completed_at, assets_seen, assets_downloaded, assets_failed, interrupted"
        " FROM sync_runs"
    ).fetchall() == [(1.0, 2.0, 5, 0, 0, 0)]
    reader.close()
    opened.close()


def _fill(connection: apsw.Connection) -> None:
    connection.execute("INSERT INTO zone (id, area, name) VALUES (1, 'private', 'PrimarySync')")
    metadata.put(connection, "cache_directory", "/cache")
    metadata.put(connection, metadata.sync_token_key("PrimarySync"), "token")
    blank = {
        str(name): "" if kind == "TEXT" else 0
        for name, kind, needed, default in connection.execute(
            "SELECT name, type, \"notnull\", dflt_value FROM pragma_table_info('asset')"
        )
        if needed and default is None
    }
    for name, taken in {"A": 1500, "B": None, "C": 1500, "D": 1500, "E": 1500}.items():
        checksum = "sum E2" if name == "E" else f"sum {name}"
        row = blank | {"zone": 1, "name": name, "taken": taken, "checksum": checksum}
        row |= {"filename": f"{name}.HEIC"}
        connection.execute(
            f"INSERT INTO asset ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
            tuple(row.values()),
        )
    connection.execute(
        "INSERT INTO content (checksum, size, status, path, attempts, last_error, downloaded_at)"
        " VALUES ('sum A', 1, 'downloaded', 'aa/A', 1, NULL, 2500),"
        " ('sum B', 1, 'failed', '', 3, 'no luck', NULL), ('sum C', 1, 'partial', 'C', 0, NULL, NULL),"
        " ('sum D', 1, 'downloaded', '/mine/D.HEIC', 1, NULL, 2500),"
        " ('sum E', 1, 'downloaded', 'ee/E', 1, NULL, 2500)"
    )
    connection.execute(
        "INSERT INTO sync_runs (started_at, completed_at, assets_seen) VALUES (1, 2, 5)"
    )


def test_the_umask_does_not_matter(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create(tmp_path / "state.db").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state.db").stat().st_mode) == 0o600


def test_looking_at_what_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    assert database.look(path) is None
    path.touch()
    assert database.look(path) is None, "another process is just making it"
    create(path).close()
    with closing(database.look(path)) as connection:  # type: ignore[type-var]
        assert connection is not None
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StateDamaged):
        database.look(path)


class _Writers:
    """Tasks that write; the transactions whose keys are ``held`` wait for ``go``."""

    def __init__(self, opened: Database, *held: str) -> None:
        self._opened = opened
        self._held = held
        self.go = {key: threading.Event() for key in held}
        self.scopes: dict[str, trio.CancelScope] = {}
        self.told: list[str] = []
        self.results: list[str] = []

    async def write(self, key: str) -> None:
        def transaction(connection: apsw.Connection) -> str:
            if key in self._held:
                self.go[key].wait()
            metadata.put(connection, key, "value")
            if key == "wrong":
                raise ZeroDivisionError
            return key

        with self.scopes.setdefault(key, trio.CancelScope()), suppress(ZeroDivisionError):
            self.results.append(await self._opened.write(transaction, self.told.append))

    async def start(self, nursery: trio.Nursery, *keys: str) -> None:
        """One after the other, each as far as it gets."""
        for key in keys:
            nursery.start_soon(self.write, key)
            await trio.testing.wait_all_tasks_blocked()


async def test_what_waits_is_written_together(tmp_path: Path) -> None:
    """In one commit, in order; what one of them does wrong undoes nothing of the others."""
    opened = Database(tmp_path / "state.db")
    commits = 0

    def committed() -> bool:
        nonlocal commits
        commits += 1
        return False

    opened._writer.set_commit_hook(committed)
    writers = _Writers(opened, "first")
    async with trio.open_nursery() as nursery:
        await writers.start(nursery, "first", "a", "wrong", "b", "c")
        writers.go["first"].set()
    assert writers.told == ["first", "a", "b", "c"]
    assert sorted(writers.results) == ["a", "b", "c", "first"]
    assert commits == 2
    assert metadata.get(opened.reader, "c") and not metadata.get(opened.reader, "wrong")
    opened.close()


async def test_cancelled_in_the_middle_of_a_group(tmp_path: Path) -> None:
    """One whose turn has come is waited for, and its result is not lost; another is withdrawn."""
    opened = Database(tmp_path / "state.db")
    writers = _Writers(opened, "first", "leader")
    async with trio.open_nursery() as nursery:
        await writers.start(nursery, "first", "leader", "member", "withdrawn")
        writers.scopes["withdrawn"].cancel()
        await trio.testing.wait_all_tasks_blocked()
        writers.go["first"].set()
        while opened._waiting:  # until the leader's turn has come
            await trio.lowlevel.checkpoint()
        writers.scopes["leader"].cancel()
        writers.scopes["member"].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert writers.results == ["first"]
        writers.go["leader"].set()
    assert sorted(writers.results) == ["first", "leader", "member"]
    assert writers.told == ["first", "leader", "member"]
    assert metadata.get(opened.reader, "withdrawn") is None
    opened.close()
