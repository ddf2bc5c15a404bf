"""``kill -9`` of a real process, in the middle of a transaction."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from icloudfs.simulator import LibraryPlan
from tests.sync.account import lab
from tests.sync.comparing import (
    Names,
    albums_held,
    albums_shown,
    assert_is_what_the_simulator_holds,
    assert_same,
)

ROOT = Path(__file__).parents[2]
PLAN = LibraryPlan(assets=230, seed=5, drawn=False, oddities=False, shared="private")


async def test_killed_during_the_first_listing_and_during_changes(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN) as account:
        url = str(account.icloud.endpoints.home)
        client = account.client()
        client.close()
        known = Names(account.simulator)
        ends = []
        for at in (3, 6, 11, 20, 10_000):
            known.note()
            command = [sys.executable, "-m", "tests.sync.killed", url]
            command += [str(account.directory / "client 0"), str(at), str(account.now())]
            done = await trio.run_process(command, check=False, cwd=ROOT)
            ends.append(done.returncode)
            client._open()
            client.check_alone()
            client.close()
            if at == 20:
                account.phone.favorite(
                    account.simulator.cloud.zone("PrimarySync").ranked("all")[0][1]
                )
        assert ends[:3] == [-9] * 3 and ends[-1] == 0, ends
        client._open()
        await client.syncing.run()
        assert_is_what_the_simulator_holds(client, account.simulator)
        assert albums_shown(client) == albums_held(account.simulator)
        fresh = account.client()
        await fresh.sync()
        assert_same(client, fresh, known)
