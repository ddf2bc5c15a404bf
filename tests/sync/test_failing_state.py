"""A state that cannot be read or written fails that sync; the next one makes good what was not done."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from icloudfs.errors import DiskFull, IcloudfsError, StateDamaged
from icloudfs.simulator import LibraryPlan
from icloudfs.state import catalogue, contents
from icloudfs.state.database import Database, trouble
from icloudfs.state.summary import summarise
from icloudfs.sync.pages import Tree
from icloudfs.sync.sync import Sync
from icloudfs.tree.changes import Change
from icloudfs.tree.directory import ROOT, Directory
from tests.failing_disk import FailingDisk, Statements, failing_disk, watched_statements
from tests.sync.account import ALL_VIEWS, SMALL, Client, Lab, lab

TINY = LibraryPlan(assets=4, seed=3, drawn=False, oddities=False, shared="none")


@pytest.fixture
def statements() -> Iterator[Statements]:
    with watched_statements() as statements:
        yield statements


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingDisk]:
    with failing_disk(tmp_path, monkeypatch) as disk:
        yield disk
        disk.heals()


async def sync_or_fail(client: Client, *, relist: bool = False) -> None:
    """One run, whatever comes of it, as long as it has a sentence."""
    try:
        await client.syncing.run(relist=relist)
    except IcloudfsError as error:
        assert str(error)


class Phone:
    """Does something different each time, so that each run has something to write."""

    def __init__(self, account: Lab) -> None:
        self._phone = account.phone
        self._album = self._phone.create_album("Album")
        self._photos: list[str] = []

    def goes_on(self) -> None:
        added = self._phone.add_photo()
        self._phone.add_to_album(added.asset, self._album)
        self._photos.append(added.asset)
        if len(self._photos) > 3:
            self._phone.edit(self._photos[-2])
            self._phone.purge(self._photos.pop(0))


async def test_each_statement_that_fails(tmp_path: Path, statements: Statements) -> None:
    """Of a first listing and of a run that asks for changes; good is made what several left undone."""
    async with lab(tmp_path, TINY) as account:
        client, phone = account.client(), Phone(account)
        await client.sync()
        statements.seen.clear()
        phone.goes_on()
        await client.sync()
        of_changes = set(statements.seen)
        await sync_or_fail(client, relist=True)
        client.check()
        known = [words for words in statements.seen if "PRAGMA" not in words.upper()]
        reached = 0
        for turn, statement in enumerate(known):
            phone.goes_on()
            statements.broken, statements.failed = statement, 0
            await sync_or_fail(client, relist=statement not in of_changes)
            reached += statements.failed > 0
            statements.broken = ""
            if turn % 4 == 3:
                await client.sync()
        await client.sync()
        assert len(known) > 60 and reached > 0.8 * len(known)


@pytest.mark.parametrize(
    ("call", "number", "error"),
    [
        ("pwrite64", errno.ENOSPC, DiskFull),
        ("pwrite64", errno.EIO, StateDamaged),
        ("pread64", errno.EIO, StateDamaged),
    ],
)
async def test_a_disk_that_fails_and_is_mended(
    tmp_path: Path, disk: FailingDisk, call: str, number: int, error: type[IcloudfsError]
) -> None:
    """In a first listing, and when it follows changes."""
    async with lab(tmp_path, SMALL) as account:
        client, phone = account.client(), Phone(account)
        for _ in range(2):
            for turn in (0, 1, 3, 9, 27):
                phone.goes_on()
                disk.breaks(call, number=number, turn=turn)
                await sync_or_fail(client)
            disk.breaks(call, number=number)
            if call == "pwrite64":
                with pytest.raises(error):
                    await client.syncing.run()
            else:
                await sync_or_fail(client)
            disk.heals()
            assert (await client.sync()).refused == []


async def test_each_page_that_is_zeroed(tmp_path: Path) -> None:
    """Whoever needs it is told so in words, and nothing else goes wrong; the rest can be had."""
    async with lab(tmp_path, TINY) as account:
        client, phone = account.client(), Phone(account)
        await client.sync()
        phone.goes_on()
        client.close()
        path = tmp_path / "client 0" / "state.db"
        whole = path.read_bytes()
        outcomes = set()
        for page in range(len(whole) // PAGE):
            path.write_bytes(whole[: page * PAGE] + bytes(PAGE) + whole[(page + 1) * PAGE :])
            outcomes.add(await _use(path, account))
        assert outcomes == {"damaged", "fine"}


PAGE = 4096


async def _use(path: Path, account: Lab) -> str:
    """All that a daemon asks of a state: walk, look up, count, sync."""
    damaged = []

    def ask(question: Callable[[], object]) -> None:
        try:
            question()
        except StateDamaged as error:
            damaged.append(error)

    try:
        database = Database(path)
    except StateDamaged:
        return "damaged"
    with closing(database):
        directory = Directory(database.reader)
        ask(lambda: [directory.file(file.ino) for file in directory.files_below(ROOT)])
        ask(lambda: catalogue.zones(database.reader))
        ask(lambda: contents.get(database.reader, "none"))
        ask(lambda: summarise(database.reader))
        syncing = Sync(
            database, account.icloud, Tree(ALL_VIEWS, account.now), connections=4, publish=_unheard
        )
        for relist in (False, True):
            try:
                await syncing.run(relist=relist)
            except StateDamaged as error:
                damaged.append(error)
    assert not damaged or trouble(path) is not None
    return "damaged" if damaged else "fine"


def _unheard(changes: list[Change]) -> None:
    """Nothing is mounted."""
