"""A sync in a process of its own, to be killed: ``python -m tests.sync.killed URL DIRECTORY AT``.

Kills itself with SIGKILL in the middle of transaction number AT (from 0), before its commit.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import apsw
import trio

from icloudfs.apple import ICloud, SessionStore
from icloudfs.apple.endpoints import Endpoints
from icloudfs.state.database import Database
from icloudfs.sync.pages import Tree
from icloudfs.sync.sync import Sync
from icloudfs.tree.layout import View
from tests.sync.account import APPLE_ID


async def main(url: str, directory: Path, at: int, now: int) -> None:
    database = Database(directory / "state.db")
    count = 0

    def dying(event: object) -> bool:
        nonlocal count
        count += 1
        if count > at:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    writer: apsw.Connection = database._writer
    writer.set_commit_hook(lambda: dying(None))
    store = SessionStore(directory.parent, APPLE_ID)
    async with ICloud(store, Endpoints.at(url), APPLE_ID) as icloud:
        await Sync(database, icloud, Tree(frozenset(View), lambda: now), connections=2).run()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
