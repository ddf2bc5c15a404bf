"""A mount in a process of its own, for the tests: the real operations on contents made of nothing.

Started with one argument, JSON (Orders); told what to do by lines of JSON on standard input, answers each with
one on standard output, the first of which says that the mount is ready, or why not. How a file is served is
in its checksum: ``slow…`` waits for the gate to be opened, and so does ``film…``, which streams;
``fail:<error>…`` raises, anything else is there.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyfuse3
import trio

from icloudfs import errors
from icloudfs.errors import IcloudfsError
from icloudfs.mount import acting as actor_process
from icloudfs.mount import kernel, limits, mounting, notices, operations, patience, session_loop
from icloudfs.mount.acting import acting
from icloudfs.mount.guard import guarded
from icloudfs.mount.kernel import Kernel
from icloudfs.mount.live import Live
from icloudfs.mount.operations import Operations
from icloudfs.mount.settings import MountSettings
from icloudfs.mount.volume import Volume
from icloudfs.mount.xattrs import Xattrs
from icloudfs.state.database import Database, connect
from icloudfs.tree.changes import Change, EntryAdded, EntryRemoved, InodeChanged
from icloudfs.tree.directory import Directory, File
from icloudfs.tree.growth import Growth
from tests.mount.library import bytes_of


class Orders(msgspec.Struct):
    """What the process is started with."""

    database: Path
    mount_point: Path
    allow_other: bool = False
    xattrs: bool = True
    umask: int = 0
    background_limit: bool = True
    """False: as if the kernel's control filesystem were not there."""
    stock_loop: bool = False
    heartbeat: bool = False
    actor_deadline: float = 5.0
    lays: bool = True
    """Whether thumbnails are laid out: none lies before the gate is opened."""
    is_away: bool = False
    """Whether iCloud is known not to answer."""
    fetched_at_open: float = 10.0
    """Where the control filesystem is not there."""
    patience: float = 30.0
    """Of those who wait for one."""
    patience_for_a_folder: float = 30.0
    """Of those who wait for all of a folder."""
    patience_saved: float = 30.0
    """And of a program that goes from folder to folder."""


class Gate:
    """What slow files wait for."""

    def __init__(self) -> None:
        self.opened = trio.Event()
        self.waiting = 0


class MadeUp:
    """An open file whose bytes follow from its checksum."""

    def __init__(self, file: File, gate: Gate) -> None:
        self._file = file
        self._gate = gate
        self.verified = not file.checksum.startswith(("slow", "film", "fail"))

    async def until_opened(self) -> None:
        """It is."""

    def read_now(self, offset: int, size: int) -> bytes | None:
        return self._bytes(offset, size) if self.verified else None

    async def read(self, offset: int, size: int) -> bytes:
        if self._file.checksum.startswith("fail:"):
            name = self._file.checksum.split(":")[1]
            raise getattr(errors, name, RuntimeError)("as ordered")
        self._gate.waiting += 1
        await self._gate.opened.wait()
        return self._bytes(offset, size)

    async def until_verified(self) -> None:
        if not self._file.checksum.startswith("film"):
            await self.read(0, 1)
            self.verified = True

    def close(self) -> None:
        """Nothing to let go of."""

    def _bytes(self, offset: int, size: int) -> bytes:
        return bytes_of(self._file.checksum, self._file.size)[offset : offset + size]


class MadeUpDesktop:
    """A small picture says what it shows; some files have none, and some take their time."""

    def __init__(self, gate: Gate, *, lays: bool, is_away: bool) -> None:
        self._gate = gate
        self.lays = lays
        self.is_away = is_away
        self.folders: list[int] = []
        self.waited_for: list[int] = []

    def opened(self, folder: int) -> None:
        self.folders.append(folder)

    async def laid(self, ino: int) -> None:
        self.waited_for.append(ino)
        await self._gate.opened.wait()

    async def laid_on_icon(self, folder: int) -> None:
        await self.laid(folder)

    async def laid_in(self, folder: int) -> None:
        await self.laid(folder)

    async def thumbnail(self, file: File) -> bytes | None:
        if file.checksum.startswith("slow"):
            await self._gate.opened.wait()
        return None if file.checksum.startswith("fail") else f"small {file.checksum}".encode()


class MadeUpContents:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def open(self, file: File) -> MadeUp:
        return MadeUp(file, self._gate)


Handler = Callable[..., Coroutine[Any, Any, Any]]
HANDLERS = tuple(
    name
    for name, handler in vars(pyfuse3.Operations).items()
    if callable(handler)
    and not name.startswith("_")
    and name not in ("init", "stacktrace", "readlink", "poll")
)
"""Every request that this filesystem can be asked."""


class Watched(Operations):
    """Counts what the kernel asks, and fails where it is ordered to."""

    def __init__(self, *collaborators: Any) -> None:
        super().__init__(*collaborators)
        self.asked: collections.Counter[str] = collections.Counter()
        self.broken: set[str] = set()
        self.held: set[str] = set()
        self.released = trio.Event()


def _watched(name: str, handler: Handler) -> Handler:
    async def watch(self: Watched, *arguments: Any) -> Any:
        self.asked[name] += 1
        if name in self.broken:
            raise RuntimeError(f"{name} is broken")
        if name in self.held:
            logging.info("%s is held", name)
            await self.released.wait()
        return await handler(self, *arguments)

    watch.__name__ = name
    return guarded(watch)


for _name in HANDLERS:
    setattr(Watched, _name, _watched(_name, getattr(Operations, _name)))


class Daemon:
    """The mount and the orders it takes."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.state = Database(orders.database)
        self.gate = Gate()
        self.desktop = MadeUpDesktop(self.gate, lays=orders.lays, is_away=orders.is_away)
        directory = Directory(self.state.reader)
        settings = MountSettings(
            "me@example.com",
            os.getuid(),
            os.getgid(),
            umask=orders.umask,
            allow_other=orders.allow_other,
            xattrs=orders.xattrs,
        )
        self.operations = Watched(
            settings,
            directory,
            Growth(self.state.reader),
            MadeUpContents(self.gate),
            Xattrs(self.state.reader),
            Volume(orders.database, orders.database.parent),
            self.desktop,
        )
        self.directory = directory
        self.longest_gap = 0.0

    async def run(self) -> None:
        stage = self.operations.stage
        async with acting(stage) as self.acting, trio.open_nursery() as nursery:
            self.kernel = Kernel(self.directory, Live(self.directory, stage, self.acting))
            nursery.start_soon(self._take_orders)
            nursery.start_soon(self._release_when_told)
            if self.orders.heartbeat:
                nursery.start_soon(self._beat)
            await mounting.serve(
                self.orders.mount_point, self.operations, ready=lambda: _say({"ready": True})
            )
            nursery.cancel_scope.cancel()

    async def _take_orders(self) -> None:
        received = b""
        async with trio.lowlevel.FdStream(os.dup(0)) as orders:
            async for part in orders:
                *lines, received = (received + part).split(b"\n")
                for line in lines:
                    order = json.loads(line)
                    _say(await getattr(self, "do_" + order.pop("do"))(**order))

    async def _beat(self) -> None:
        """Notice when the event loop stood still."""
        last = trio.current_time()
        while True:
            await trio.sleep(0.01)
            now = trio.current_time()
            self.longest_gap = max(self.longest_gap, now - last)
            last = now

    async def do_asked(self) -> dict[str, int]:
        """What the kernel asked since the last time."""
        asked = dict(self.operations.asked)
        self.operations.asked.clear()
        return asked

    async def do_change(self, sql: list[str], changes: list[list[Any]]) -> None:
        await self.state.write(
            lambda connection: [connection.execute(each) for each in sql] and None
        )
        await self.kernel.apply([_change(*change) for change in changes])

    async def do_change_unasked(self, sql: list[str], changes: list[list[Any]]) -> None:
        """As if the database did not answer when the kernel is told."""
        await self.state.write(
            lambda connection: [connection.execute(each) for each in sql] and None
        )
        await self.kernel.forget([_change(*change) for change in changes])

    async def do_forget(self, ino: int) -> None:
        await trio.to_thread.run_sync(notices.send, [notices.forget_inode(ino, True)])

    async def do_refresh(self, sql: list[str], epoch: bool) -> None:
        if not epoch:
            kernel._drop_all_entries = lambda: False
        await self.state.write(
            lambda connection: [connection.execute(each) for each in sql] and None
        )
        await self.kernel.refresh(connect(self.orders.database, write=False))

    async def do_open_gate(self) -> None:
        self.gate.opened.set()

    async def do_waiting(self) -> int:
        return self.gate.waiting

    async def do_longest_gap(self) -> float:
        gap, self.longest_gap = self.longest_gap, 0.0
        return gap

    async def do_break(self, handlers: list[str]) -> None:
        self.operations.broken = set(handlers)

    async def do_hold(self, handlers: list[str]) -> None:
        """Let these handlers wait until SIGUSR1."""
        self.operations.held = set(handlers)

    async def _release_when_told(self) -> None:
        with trio.open_signal_receiver(signal.SIGUSR1) as signals:
            async for _ in signals:
                self.operations.released.set()

    async def do_fail(self) -> None:
        """As a task beside the mount might, in a way that nobody foresaw."""
        raise RuntimeError("as ordered")

    async def do_workers(self) -> int:
        """How many tasks wait for requests or answer one."""
        root = trio.lowlevel.current_root_task()
        assert root is not None
        return sum(task.name.startswith("pyfuse-") for task in _below(root))

    async def do_opened(self) -> list[int]:
        """The folders that their owner opened."""
        return self.desktop.folders

    async def do_laid(self) -> list[int]:
        """What thumbnails were waited for."""
        return self.desktop.waited_for

    async def do_direct(self) -> bool:
        return self.operations.direct_until_whole


def _below(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    yield task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _below(child)


def _change(kind: str, *fields: Any) -> Change:
    if kind == "changed":
        return InodeChanged(*fields)
    parent, name, ino = fields
    return (EntryAdded if kind == "added" else EntryRemoved)(parent, name.encode(), ino)


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    orders = msgspec.json.decode(sys.argv[1], type=Orders, dec_hook=lambda kind, value: kind(value))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if not orders.background_limit:
        limits.CONNECTIONS = Path("/nonexistent")
    actor_process.DEADLINE = orders.actor_deadline
    operations.FETCHED_AT_OPEN = orders.fetched_at_open
    patience.PATIENCE = orders.patience
    patience.FOR_A_FOLDER = orders.patience_for_a_folder
    patience._SAVED = orders.patience_saved
    if orders.stock_loop:
        session_loop.replace_loop = lambda descriptor: None
    try:
        trio.run(Daemon(orders).run)
    except* IcloudfsError as group:
        error = group.exceptions[0]
        assert isinstance(error, IcloudfsError)
        _say({"error": str(error), "hint": error.hint})
        os._exit(error.exit_code)


if __name__ == "__main__":
    main()
