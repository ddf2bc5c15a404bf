"""An account at a local iCloud, and clients of it with state databases of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from icloudfs.apple import DeviceCode, ICloud, SessionStore
from icloudfs.apple.endpoints import Endpoints
from icloudfs.progress import Progress
from icloudfs.simulator import Account, LibraryPlan, Simulator
from icloudfs.state import catalogue
from icloudfs.state.database import Database, _Write
from icloudfs.state.runs import Figures
from icloudfs.sync.pages import Tree
from icloudfs.sync.sync import Sync
from icloudfs.tree.changes import Change
from icloudfs.tree.layout import View
from tests.tree import invariants

APPLE_ID, PASSWORD = "alice@example.com", "correct horse battery"
SMALL = LibraryPlan(assets=40, seed=3, drawn=False, oddities=False, shared="none")
ALL_VIEWS = frozenset(View)


class Crash(BaseException):
    """As if the process had been killed: nothing is written from here on."""


class FragileDatabase(Database):
    """A database whose process dies at a chosen transaction, before or after its commit."""

    crash_at: int | None = None
    """How many more transactions there are."""
    after_commit = False
    _dead = False

    def _run(self, group: Sequence[Any]) -> None:
        if self._dead:
            raise Crash
        if self.crash_at is not None:
            self.crash_at -= 1
        if self.after_commit:
            super()._run(group)
            self._die_if_due()
        else:
            # The last one of the group, before its commit.
            super()._run([*group, _Write(lambda _: self._die_if_due(), None)])

    def _die_if_due(self) -> None:
        if self.crash_at is not None and self.crash_at < 0:
            self._dead = True
            raise Crash


class Client:
    """One computer of the account: a state database that syncs."""

    def __init__(
        self, directory: Path, icloud: ICloud, now: Callable[[], int], connections: int = 4
    ) -> None:
        self._path = directory / "state.db"
        self._icloud = icloud
        self._tree = Tree(ALL_VIEWS, now)
        self._connections = connections
        self.changes: list[Change] = []
        """What was published since the last check."""
        self.after_publish: Callable[[], None] = lambda: None
        self.progress: list[Progress] = []
        self._open()
        self._before = invariants.snapshot(self.reader)

    def _open(self) -> None:
        self.database = FragileDatabase(self._path)
        self.reader = self.database.reader
        self.syncing = Sync(
            self.database,
            self._icloud,
            self._tree,
            connections=self._connections,
            publish=self._publish,
            report=self.progress.append,
        )

    def _publish(self, changes: list[Change]) -> None:
        self.changes += changes
        self.after_publish()

    async def sync(self) -> Figures:
        """One run, then a check of everything."""
        figures = await self.syncing.run()
        self.check()
        return figures

    async def crash_during_sync(self, transactions: int, *, after_commit: bool) -> bool:
        """Die at that transaction of a run and start again; False if the run was over before."""
        self.database.crash_at, self.database.after_commit = transactions, after_commit
        try:
            await self.syncing.run()
        except Crash:
            self.restart()
            return True
        finally:
            self.database.crash_at = None
        return False

    def restart(self) -> None:
        """What another process finds: nobody closed the database, nobody told what changed."""
        self.changes = []
        self.database.close()
        self._open()
        self._before = invariants.snapshot(self.reader)
        self.check()

    def check(self) -> None:
        """The tree is as it must be, and what was published leads to it from the last check."""
        invariants.check(self.reader, ALL_VIEWS, self._tree.clock())
        entries = dict(self._before[0])
        for change in self.changes:
            name = type(change).__name__
            if name == "EntryRemoved":
                assert entries.pop((change.parent, change.name)) == change.ino  # type: ignore[union-attr]
            elif name == "EntryAdded":
                assert (change.parent, change.name) not in entries  # type: ignore[union-attr]
                entries[change.parent, change.name] = change.ino  # type: ignore[union-attr]
        self._before = invariants.snapshot(self.reader)
        assert entries == self._before[0]
        self.changes = []

    def check_alone(self) -> None:
        """The tree is as it must be, whoever wrote it."""
        invariants.check(self.reader, ALL_VIEWS, self._tree.clock())

    def close(self) -> None:
        self.database.close()

    @property
    def zones(self) -> list[catalogue.StoredZone]:
        return catalogue.zones(self.reader)


class Lab:
    """A running simulator, an account that is signed in, and any number of its clients."""

    def __init__(self, simulator: Simulator, icloud: ICloud, directory: Path) -> None:
        self.simulator = simulator
        self.icloud = icloud
        self.directory = directory
        self.phone = simulator.phone
        self.faults = simulator.faults
        self.days_later = 0.0
        self._clients: list[Client] = []

    def now(self) -> int:
        """Milliseconds since the epoch, as the clients see it."""
        return self.simulator.cloud.clock.record() + int(self.days_later * 86_400_000)

    def client(self, connections: int = 4) -> Client:
        directory = self.directory / f"client {len(self._clients)}"
        directory.mkdir()
        made = Client(directory, self.icloud, self.now, connections)
        self._clients.append(made)
        return made

    def calls(self) -> int:
        """Database calls since the last time this was asked."""
        traffic = self.simulator.traffic
        found = sum(traffic.endpoints.values())
        traffic.reset()
        return found

    def asked(self, words: str) -> int:
        """How many calls to endpoints that end so."""
        endpoints = self.simulator.traffic.endpoints
        return sum(count for name, count in endpoints.items() if name.endswith(words))

    def close(self) -> None:
        for client in self._clients:
            client.close()


class _Codes:
    async def code(self, challenge: object) -> DeviceCode:
        return DeviceCode("123456")


@asynccontextmanager
async def lab(
    directory: Path, plan: LibraryPlan = SMALL, *, patience: float = 5.0
) -> AsyncIterator[Lab]:
    simulator = Simulator(plan, Account(two_factor="none", iteration=1000))
    async with simulator.running() as address:
        store = SessionStore(directory, APPLE_ID)
        endpoints = Endpoints.at(address.url)
        async with ICloud(store, endpoints, APPLE_ID, patience=patience) as icloud:
            await icloud.login(PASSWORD, _Codes())
            simulator.traffic.reset()
            made = Lab(simulator, icloud, directory)
            try:
                yield made
            finally:
                made.close()
