"""No task that nobody waits for can end the mount: each one is guarded, or it is said here why not."""

from __future__ import annotations

import ast
import errno
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

import icloudfs
from icloudfs import aside as module
from icloudfs.aside import aside, is_over, keep_going, say
from icloudfs.errors import Offline, StateDamaged

PACKAGE = Path(icloudfs.__file__).parent
GUARDS = {"aside", "keep_going"}

UNGUARDED = {
    "desktop/seeder.py: self._several_at_once": "the reader of the folder waits for it",
    "desktop/seeder.py: self._seed": "its nursery is that of a guarded task, which waits for it",
    "cache/parallel.py: _tick": "who imports or verifies waits for it",
    "cache/parallel.py: _in_thread": "who imports or verifies waits for it",
    "cache/prefetching.py: self._work": "who prefetches waits for it",
    "sync/listing.py: worker": "the sync waits for it, and the schedule is guarded",
    "sync/measuring.py: partial(_measure, books, checksum, url, sizes)": "the sync waits for it",
    "library.py: library.cache.run": "raises before it has started; then sleeps, its tasks are guarded",
    "library.py: server.serve": "raises before it has started; then keeps going",
    "control/server.py: _cancel_when_gone": "one request, answered in peace",
    "control/server.py: _send": "one request, answered in peace",
    "control/server.py: _beat": "one request, answered in peace",
    "mount/mounting.py: _unmount_when_told": "it is told to end the mount",
    "mount/mounting.py: _cancel_when_told_again": "it is told to end the mount",
    "simulator/server.py: trio.serve_listeners": "the local iCloud, which mounts nothing",
    "cli/simulator.py: run": "the local iCloud, which mounts nothing",
}


def begun() -> Iterator[tuple[str, str]]:
    """(Where, what) of each task that any nursery of the package begins."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = ast.unparse(node.func.value)
            if node.func.attr == "start_soon" or (node.func.attr == "start" and "nursery" in owner):
                yield str(path.relative_to(PACKAGE)), ast.unparse(node.args[0])


def test_every_task_is_guarded_or_waited_for() -> None:
    tasks = list(begun())
    unguarded = {f"{where}: {what}" for where, what in tasks if what not in GUARDS}

    assert unguarded == set(UNGUARDED)
    assert sum(what in GUARDS for _, what in tasks) >= 15


def test_no_nursery_is_handed_to_what_this_test_does_not_see() -> None:
    """``start_soon`` as a value, such as an argument of ``map``, would be a task that is not counted."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "start_soon":
                assert id(node) in called, path


async def fails(*_: object) -> None:
    raise RuntimeError("as ordered")


@pytest.fixture(autouse=True)
def _nothing_was_said() -> None:
    module._said.clear()
    module._bugs.clear()


async def test_what_fails_aside_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(aside, fails, 1)
        nursery.start_soon(aside, fails, 2)
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.cancel_scope.cancel_called
    first, second = caplog.records
    assert first.exc_info and "fails" in first.getMessage()
    assert not second.exc_info, "one traceback is enough"


async def test_what_fails_in_a_group_of_cancelled_ones(caplog: pytest.LogCaptureFixture) -> None:
    async def group() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails)
            nursery.start_soon(trio.sleep_forever)

    await aside(group)
    assert "as ordered" in caplog.text


async def test_a_task_that_is_kept_going(autojump_clock: trio.testing.MockClock) -> None:
    times: list[float] = []

    async def twice() -> None:
        times.append(trio.current_time())
        if len(times) < 3:
            raise OSError(errno.EIO, "Input/output error")

    await keep_going(twice, 10.0)
    assert [round(t - times[0]) for t in times] == [0, 10, 20]


async def test_a_task_is_cancelled_through_its_guard() -> None:
    with trio.move_on_after(0) as first:
        await aside(trio.sleep_forever)
    with trio.move_on_after(0) as second:
        await keep_going(trio.sleep_forever, 1.0)
    assert first.cancelled_caught and second.cancelled_caught


def test_one_line_for_one_trouble(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever meets it, however often; and again once it was over."""
    caplog.set_level(logging.WARNING)
    damaged = StateDamaged("The state database is damaged.")
    for what in ("read", "lookup", "recording what is here"):
        say(damaged, what)
    say(Offline("No connection."), "read")
    assert len(caplog.records) == 2
    is_over(damaged)
    say(damaged, "read")
    assert len(caplog.records) == 3
