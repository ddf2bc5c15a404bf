"""What a database says when its disk fails, whose failure it is, and that it is over when the disk is well."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest
import trio
import trio.testing

from icloudfs.errors import DiskFull, IcloudfsError, StateDamaged, StateUnreachable
from icloudfs.state import metadata
from icloudfs.state.database import Database, connect, create, trouble
from tests.failing_disk import FailingDisk, failing_disk

PAGE = 4096


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingDisk]:
    with failing_disk(tmp_path, monkeypatch) as disk:
        yield disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def opened(path: Path, disk: FailingDisk) -> Iterator[Database]:
    opened = Database(path)
    yield opened
    disk.heals()
    opened.close()


def puts(key: str) -> Callable[[apsw.Connection], None]:
    return lambda connection: metadata.put(connection, key, "value")


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, DiskFull), (errno.EIO, StateUnreachable)]
)
async def test_a_disk_that_does_not_take_writes(
    opened: Database, path: Path, disk: FailingDisk, number: int, error: type[IcloudfsError]
) -> None:
    disk.breaks("pwrite64", number=number)
    with pytest.raises(error):
        await opened.write(puts("lost"))
    assert isinstance(trouble(path), error)
    disk.heals()
    await opened.write(puts("kept"))
    assert trouble(path) is None
    assert metadata.get(opened.reader, "kept") and not metadata.get(opened.reader, "lost")


async def test_whatever_call_fails_it_can_be_written_again(
    opened: Database, disk: FailingDisk
) -> None:
    """One after another of the calls of a transaction that outgrows SQLite's memory."""

    def much(connection: apsw.Connection) -> None:
        connection.pragma("cache_size", 10)
        for n in range(60):
            metadata.put(connection, f"much {n}", "x" * 1000)

    turn = 0
    while turn < 1000:
        disk.breaks("pread64", "pwrite64", "ftruncate", turn=turn)
        try:
            await opened.write(much)
        except StateDamaged:
            assert disk.failed == 1
        failed = disk.failed
        disk.heals()
        await opened.write(lambda c: c.execute("DELETE FROM metadata") and None)
        if not failed:
            break
        turn += 1 + turn // 4
    assert turn > 10
    assert opened.reader.pragma("integrity_check") == "ok"


async def test_only_what_is_wrong_fails(opened: Database) -> None:
    """A constraint, a statement that is none, a bug: of a group, that one alone."""

    def null(connection: apsw.Connection) -> None:
        metadata.put(connection, "undone", "value")
        connection.execute("INSERT INTO metadata VALUES ('a', NULL)")

    def no_statement(connection: apsw.Connection) -> None:
        connection.execute("SELEC 1")

    def bug(_: apsw.Connection) -> None:
        raise ZeroDivisionError

    wrong = {null: apsw.ConstraintError, no_statement: apsw.SQLError, bug: ZeroDivisionError}

    async def fails(transaction: Callable[[apsw.Connection], None]) -> None:
        with pytest.raises(wrong[transaction]):
            await opened.write(transaction)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened.write, puts("first"))
        for n, transaction in enumerate(wrong):
            nursery.start_soon(opened.write, puts(f"good {n}"))
            nursery.start_soon(fails, transaction)
    assert {key for (key,) in opened.reader.execute("SELECT key FROM metadata")} >= {
        "first",
        "good 0",
        "good 1",
        "good 2",
    }
    assert metadata.get(opened.reader, "undone") is None


async def test_a_disk_fails_everybody_each_with_an_error_of_their_own(
    opened: Database, disk: FailingDisk
) -> None:
    errors: list[IcloudfsError] = []

    async def fails(n: int) -> None:
        with pytest.raises(StateUnreachable) as raised:
            await opened.write(puts(str(n)))
        errors.append(raised.value)

    disk.breaks("pwrite64")
    async with trio.open_nursery() as nursery:
        for n in range(5):
            nursery.start_soon(fails, n)
    assert len(set(map(id, errors))) == 5 and len(set(map(str, errors))) == 1


async def test_what_one_wants_to_be_told_is_no_matter_to_the_others(opened: Database) -> None:
    told: list[str] = []

    def then(_: None) -> None:
        raise ZeroDivisionError

    async def fails() -> None:
        with pytest.raises(ZeroDivisionError):
            await opened.write(puts("theirs"), then)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(opened.write, puts("first"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(opened.write, puts("leader"), lambda _: told.append("leader"))
            nursery.start_soon(fails)
            nursery.start_soon(opened.write, puts("last"), lambda _: told.append("last"))
    assert sorted(told) == ["last", "leader"]
    assert metadata.get(opened.reader, "theirs"), "what was written stays"


def zero(path: Path, page: int) -> bytes:
    """What was there before."""
    with path.open("rb") as file:
        file.seek((page - 1) * PAGE)
        before = file.read(PAGE)
    write(path, page, bytes(PAGE))
    return before


def write(path: Path, page: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(content)


def root_of(path: Path, table: str) -> int:
    connection = apsw.Connection(str(path))
    (page,) = connection.execute(
        "SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)
    ).fetchone() or (0,)
    connection.close()
    return int(str(page))


_ALL = "SELECT * FROM metadata"

QUESTIONS: tuple[Callable[[apsw.Connection], object], ...] = (
    lambda c: list(c.execute(_ALL)),
    lambda c: c.execute(_ALL).fetchone(),
    lambda c: c.execute(_ALL).fetchall(),
    lambda c: dict(c.cursor().execute(_ALL)),
    lambda c: c.execute("SELECT count(*) FROM metadata").fetchone(),
)
"""Every way in which rows are taken."""


def test_a_damaged_page_is_told_in_words_wherever_rows_are_taken(path: Path) -> None:
    made = create(path)
    for n in range(500):
        metadata.put(made, f"{n:04}", "x" * 100)
    made.close()
    root = root_of(path, "metadata")
    for question in QUESTIONS:
        connection = connect(path, write=False)
        assert question(connection)
        connection.close()
    zero(path, root)
    for question in QUESTIONS:
        connection = connect(path, write=False)
        with pytest.raises(StateDamaged, match="damaged"):
            question(connection)
        connection.close()
    assert isinstance(trouble(path), StateDamaged)


def test_a_damaged_page_further_on(path: Path) -> None:
    """The first rows are good: what comes after them is told all the same."""
    made = create(path)
    for n in range(5000):
        metadata.put(made, f"{n:04}", "x" * 100)
    made.close()
    pages = path.stat().st_size // PAGE
    for page in range(pages // 2, pages + 1):
        zero(path, page)
    connection = connect(path, write=False)
    rows = iter(connection.execute("SELECT * FROM metadata"))
    next(rows)
    with pytest.raises(StateDamaged):
        list(rows)
    with pytest.raises(StateDamaged):
        found = connection.execute("SELECT * FROM metadata")
        while found.fetchone():
            pass
    connection.close()


async def test_a_damaged_page_fails_only_those_who_need_it(path: Path) -> None:
    made = create(path)
    made.close()
    zero(path, root_of(path, "sync_runs"))
    opened = Database(path)

    async def fails() -> None:
        with pytest.raises(StateDamaged):
            await opened.write(lambda c: c.execute("DELETE FROM sync_runs") and None)

    await fails()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened.write, puts("first"))
        nursery.start_soon(fails)
        nursery.start_soon(opened.write, puts("second"))
    assert metadata.get(opened.reader, "second")
    await opened.write(puts("third"))
    assert isinstance(trouble(path), StateDamaged), "it is damaged all the same"
    opened.close()


async def test_damage_that_goes_with_the_disk(path: Path) -> None:
    """A page that could not be read once looks damaged; a look at the whole file finds out."""
    create(path).close()
    root = root_of(path, "sync_runs")
    whole = zero(path, root)
    opened = Database(path)
    await opened.look_again()
    with pytest.raises(StateDamaged):
        await opened.read(lambda c: c.execute("SELECT * FROM sync_runs").fetchall())
    await opened.look_again()
    await opened.write(puts("something"))
    assert isinstance(trouble(path), StateDamaged), "it is damaged all the same"
    write(path, root, whole)
    await opened.look_again()
    assert trouble(path) is None
    opened.close()
