"""A simulator, and an iCloud client that is pointed at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from icloudfs.apple import (
    Challenge,
    CodeAnswer,
    DeviceCode,
    Endpoints,
    ICloud,
    SessionStore,
    transport,
)
from icloudfs.apple.signin import PasswordSource
from icloudfs.simulator import Account, LibraryPlan, Simulator

TRUST = httpx.create_ssl_context(trust_env=False)
ACCOUNT = Account(iteration=1000)  # the derivation's time is not what is tested


class Codes:
    """Answers challenges from a list, and keeps what it was asked."""

    def __init__(self, *answers: CodeAnswer | Callable[[Challenge], CodeAnswer]) -> None:
        self._answers = list(answers) or [DeviceCode(ACCOUNT.code)]
        self.asked: list[Challenge] = []

    async def code(self, challenge: Challenge) -> CodeAnswer:
        self.asked.append(challenge)
        answer = self._answers.pop(0)
        return answer(challenge) if callable(answer) else answer


@dataclass
class World:
    """One simulator at one address, and where the client keeps its session."""

    sim: Simulator
    url: str
    directory: Path

    @property
    def paths(self) -> list[str]:
        """The ends of the paths that were asked for, since the last ``forget``."""
        return [call.path.rsplit("/", 1)[-1] for call in self.sim.traffic.log]

    def forget(self) -> None:
        self.sim.traffic.reset()

    def store(self) -> SessionStore:
        return SessionStore(self.directory, ACCOUNT.apple_id)

    def client(self, *, password: PasswordSource | None = None, patience: float = 5.0) -> ICloud:
        return ICloud(
            self.store(),
            Endpoints.at(self.url),
            ACCOUNT.apple_id,
            password=password,
            patience=patience,
        )

    async def sign_in(self) -> None:
        """Leave a session behind, as ``icloudfs login`` does."""
        async with self.client() as icloud:
            await icloud.login(self.sim.account.password, Codes())
        self.forget()


@pytest.fixture(autouse=True)
def certificates_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading them anew for every client would take 25 ms a test. test_transport does."""
    monkeypatch.setattr(transport, "_trust", lambda: TRUST)


@pytest.fixture
def account() -> Account:
    return ACCOUNT


@pytest.fixture
def plan() -> LibraryPlan:
    return LibraryPlan(assets=0, oddities=False, shared="none", other_zones=False)


@pytest.fixture
async def world(
    tmp_path: Path, plan: LibraryPlan, account: Account, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    sim = Simulator(plan, account)
    async with sim.running() as address:
        yield World(sim, address.url, tmp_path)


@pytest.fixture
async def signed_in(world: World) -> World:
    await world.sign_in()
    return world


async def kept_password() -> str | None:
    return ACCOUNT.password


def account_with(**changes: object) -> Account:
    return replace(ACCOUNT, **changes)  # type: ignore[arg-type]
