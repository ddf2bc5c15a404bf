"""The daemon as a service: what systemd hears of it, in its order; and a sign-in that is missing and comes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.scratch import Scratch, wait_until
from tests.whole.library import Library, own_library
from tests.whole.local_icloud import LocalICloud


class Manager:
    """Hears what a daemon tells its service manager."""

    def __init__(self, scratch: Scratch) -> None:
        path = scratch.folder / "notify"
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "900000"}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._heard: list[str] = []

    @property
    def heard(self) -> list[str]:
        """Every line so far."""
        while True:
            try:
                self._heard += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self._heard

    @property
    def status(self) -> str:
        """The newest."""
        told = [line for line in self.heard if line.startswith("STATUS=")]
        return told[-1].removeprefix("STATUS=") if told else ""

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(scratch: Scratch) -> Iterator[Manager]:
    manager = Manager(scratch)
    yield manager
    manager.close()


@pytest.fixture
def home(scratch: Scratch) -> Iterator[Library]:
    """With an iCloud of its own, whose sessions may be ended."""
    with own_library(scratch, assets=30) as library:
        yield library


def test_what_systemd_hears(library: Library, manager: Manager) -> None:
    served = library.serve(environment=manager.environment)
    wait_until(lambda: "READY=1" in manager.heard)
    assert "Library" in library.views()
    wait_until(lambda: " photos, as iCloud had them at " in manager.status)
    wait_until(lambda: manager.heard.count("WATCHDOG=1") >= 2)

    library.unmount()

    assert served.wait(10) == 0
    assert manager.heard[-2:] == ["STOPPING=1", "STATUS=unmounting"]


def test_a_sign_in_that_runs_out_and_is_mended(home: Library, manager: Manager) -> None:
    del home.environment["ICLOUDFS_PASSWORD"]
    home.mount()
    photo = home.uncached(at_least=100_000)
    cached = next(path for path in home.files("Library") if path != photo)
    seen = cached.read_bytes()
    home.unmount()  # the download URLs of what lies near, which need no sign-in, go with it
    served = home.serve("--interval", "1", environment=manager.environment)

    home.icloud.control.expire("all")

    wait_until(lambda: manager.status.startswith("sign in again: icloudfs login"))
    assert home.status()["now"]["sign_in_needed"]
    assert "sign in again: icloudfs login" in home.icloudfs("status").stdout
    assert "BAD  sign-in      it has run out" in home.icloudfs("doctor", check=False).stdout
    assert cached.read_bytes() == seen
    with pytest.raises(OSError, match="Required key"):
        photo.read_bytes()
    assert served.poll() is None

    began = time.monotonic()
    password = {"ICLOUDFS_PASSWORD": home.icloud.account.password}
    home.icloudfs("login", "--code", home.icloud.account.code, environment=password)

    wait_until(lambda: " photos, as iCloud had them at " in manager.status)
    assert time.monotonic() - began < 10  # far less than until it would look by itself
    assert not home.status()["now"]["sign_in_needed"]
    assert "ok   sign-in" in home.icloudfs("doctor", check=False).stdout
    assert photo.read_bytes() == home.truth(photo)
    home.unmount()
    assert served.wait(10) == 0


def test_it_is_ready_once_everything_is_listed(
    stranger: Library, signed_in: Library, icloud: LocalICloud, manager: Manager
) -> None:
    """Until then systemd is told how far it is, and to wait."""
    stranger.take_state_of(signed_in)
    icloud.control.set_fault("*", "status", call="list:hidden", status=503, retry_after=0.2)
    served = stranger.serve("--interval", "1", environment=manager.environment)
    wait_until(lambda: manager.status.startswith("not complete yet: listing, "))
    assert "EXTEND_TIMEOUT_USEC=60000000" in manager.heard
    assert "READY=1" not in manager.heard

    icloud.control.clear_faults()

    wait_until(lambda: "READY=1" in manager.heard, 20)
    assert "Library" in stranger.views()
    wait_until(lambda: " photos, as iCloud had them at " in manager.status)
    stranger.unmount()
    assert served.wait(10) == 0


def test_nothing_to_show_and_a_session_that_icloud_refuses(scratch: Scratch) -> None:
    """Apple has ended it since it was last used, a moment ago, and no password is at hand."""
    icloud = LocalICloud(scratch, assets=5)
    library = Library(icloud, scratch)
    library.login()
    del library.environment["ICLOUDFS_PASSWORD"]
    icloud.control.expire("all")
    done = library.icloudfs("mount", library.mount_point, check=False)
    assert done.returncode == 78 and "icloudfs login" in done.stderr
    assert not library.is_mounted
    icloud.stop()
