"""What the service manager hears, and whether the mount answers whoever looks."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from icloudfs.mount import answering, mount_table
from icloudfs.mount.answering import answers, attend
from icloudfs.mount.service import Service
from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import Library
from tests.mount.mounted import Mount


class Manager:
    """A service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """Everything since the last time."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


@pytest.fixture
def service(manager: Manager, tmp_path: Path) -> Service:
    return Service({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"})


@pytest.fixture
def mount(library: Library, place: Path) -> Iterator[Mount]:
    library.file(ROOT_INO, "photo")
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        yield mount


def happened() -> trio.Event:
    """That everything is listed."""
    listed = trio.Event()
    listed.set()
    return listed


def test_what_is_told(manager: Manager, service: Service) -> None:
    service.ready()
    service.stands("3 photos\nREADY=1")
    service.lives()
    service.stopping()
    assert manager.heard() == [
        "READY=1",
        "STATUS=3 photos READY=1",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=unmounting",
    ]


def test_an_abstract_address() -> None:
    manager = Manager(f"\0icloudfs-test-{os.getpid()}")
    Service({"NOTIFY_SOCKET": f"@icloudfs-test-{os.getpid()}"}).ready()
    assert manager.heard() == ["READY=1"]
    manager.close()


def test_nobody_is_told_without_a_manager(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        service = Service(environment)
        service.ready()
        assert service.is_watched == bool(environment)


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_whom_a_watchdog_watches(environment: dict[str, str], seconds: float | None) -> None:
    assert Service(environment).watchdog == seconds


async def test_a_mount_answers_until_it_is_stuck(mount: Mount) -> None:
    mounted = mount_table.mounted_at(mount.path)
    assert await answers(mounted, 5.0)

    mount.process.send_signal(signal.SIGSTOP)
    try:
        assert not await answers(mounted, 0.3)
    finally:
        mount.process.send_signal(signal.SIGCONT)
    assert await answers(mounted, 5.0)


async def test_a_dead_mount_is_an_answer(mount: Mount) -> None:
    """Whoever asks gets one, and the daemon that would ask is gone."""
    mounted = mount_table.mounted_at(mount.path)
    mount.stop(signal.SIGKILL)
    assert await answers(mounted, 5.0)


async def test_what_lies_over_the_mount_is_not_judged(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = mount_table.mounted_at(mount.path)
    monkeypatch.setattr(answering, "_PROGRAM", "/nonexistent")
    monkeypatch.setattr(mount_table, "mounted_at", lambda path: None)
    assert await answers(mounted, 5.0)
    assert await answers(None, 5.0)


async def test_it_is_ready_when_everything_is_listed(
    mount: Mount, manager: Manager, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "_BEGINNING", 0.3)
    mounted, listed = mount_table.mounted_at(mount.path), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attend, service, lambda: mounted, listed)
        told: list[str] = []
        while len(told) < 3:
            await trio.sleep(0.01)
            told += manager.heard()
        assert set(told) == {"EXTEND_TIMEOUT_USEC=300000"}
        listed.set()
        while "READY=1" not in told:
            await trio.sleep(0.01)
            told += manager.heard()
        nursery.cancel_scope.cancel()


async def test_signs_of_life_stop_with_the_answers(
    mount: Mount, manager: Manager, service: Service
) -> None:
    mounted = mount_table.mounted_at(mount.path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attend, service, lambda: mounted, happened())
        await trio.sleep(0.5)
        first, *others = manager.heard()
        assert first == "READY=1"
        assert others and set(others) == {"WATCHDOG=1"}

        mount.process.send_signal(signal.SIGSTOP)
        await trio.sleep(0.3)
        manager.heard()
        await trio.sleep(0.5)
        assert manager.heard() == []

        mount.process.send_signal(signal.SIGCONT)
        await trio.sleep(0.5)
        assert "WATCHDOG=1" in manager.heard()
        nursery.cancel_scope.cancel()


async def test_not_ready_before_the_first_answer(
    mount: Mount, manager: Manager, service: Service
) -> None:
    mounted = mount_table.mounted_at(mount.path)
    mount.process.send_signal(signal.SIGSTOP)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attend, service, lambda: mounted, happened())
        await trio.sleep(0.4)
        assert manager.heard() == []
        mount.process.send_signal(signal.SIGCONT)
        await trio.sleep(0.3)
        assert manager.heard()[0] == "READY=1"
        nursery.cancel_scope.cancel()
