"""One booted machine with a local iCloud, an ordinary user and a server's account on it.

The tests of this directory run by ``scripts/systemd-test``, which makes the tree that is booted, in their
order. What they measured is printed at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.measured import notes, pytest_terminal_summary  # noqa: F401
from tests.systemd.cloud import Cloud
from tests.systemd.machine import Machine, booted
from tests.systemd.photos import OfServer, OfUser


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    tree = os.environ.get("ICLOUDFS_SYSTEMD_TREE", "")
    assert tree, "ICLOUDFS_SYSTEMD_TREE is not set: these tests are run by scripts/systemd-test"
    with booted(Path(tree)) as machine:
        machine.run("useradd", "--create-home", "me")
        yield machine


@pytest.fixture(scope="session")
def cloud(machine: Machine) -> Cloud:
    """A service of the machine, so that it is there after a reboot, too."""
    return Cloud(machine)


@pytest.fixture(scope="session")
def of_user(machine: Machine, cloud: Cloud) -> OfUser:
    """Somebody who has signed in, and has had the units of a user put in place."""
    return OfUser(machine, cloud)


@pytest.fixture(scope="session")
def of_server(machine: Machine, cloud: Cloud) -> OfServer:
    """The machine, with the units of a server, signed in."""
    return OfServer(machine, cloud)


@pytest.fixture
def user(of_user: OfUser) -> Iterator[OfUser]:
    """Started: mounted at log-in. As it was again afterwards."""
    of_user.start()
    of_user.until_synced()
    yield of_user
    of_user.as_before()


@pytest.fixture
def server(of_server: OfServer) -> Iterator[OfServer]:
    """Started. As it was again afterwards."""
    of_server.start()
    of_server.until_synced()
    yield of_server
    of_server.as_before()
