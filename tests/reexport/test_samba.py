"""Samba serves the mount: a client that stays connected finds it again after a remount."""

from __future__ import annotations

import fcntl
import socket
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scratch import Scratch, wait_until
from tests.whole.library import Library

_SETTINGS = """
[global]
  server role = standalone server
  smb ports = {port}
  interfaces = lo
  bind interfaces only = yes
  map to guest = bad user
  disable spoolss = yes
  load printers = no
  log file = {folder}/smbd.log
  private dir = {folder}
  lock directory = {folder}
  state directory = {folder}
  cache directory = {folder}
  pid directory = {folder}
  ncalrpc dir = {folder}/ncalrpc

[photos]
  path = {shared}
  read only = yes
  guest ok = yes
  force user = root
"""
"""Only the owner of a mount may look into it, unless it was mounted with ``--allow-other``."""


class Server:
    """smbd on the loopback device."""

    def __init__(self, scratch: Scratch, shared: Path) -> None:
        folder = scratch.folder / "samba"
        folder.mkdir()
        self.port = _free_port()
        settings = folder / "smb.conf"
        settings.write_text(_SETTINGS.format(port=self.port, folder=folder, shared=shared))
        self._process = scratch.start(*("smbd", "--foreground", "--configfile", settings))
        wait_until(lambda: _answers(self.port))

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(10)


class Client:
    """One connection, kept open."""

    def __init__(self, scratch: Scratch, port: int) -> None:
        self._folder = scratch.folder / "client"
        self._folder.mkdir()
        self._log = self._folder / "said.log"
        self._asked = 0
        with self._log.open("w") as log:
            self._process = scratch.start(
                *("stdbuf", "-oL"),
                *("smbclient", "--no-pass", f"--port={port}", "//127.0.0.1/photos"),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    def do(self, command: str) -> str:
        """Give one of smbclient's commands; what it said."""
        self._asked += 1
        done = self._folder / f"done-{self._asked}"
        before = len(self._log.read_text())
        self._give(command)
        self._give(f"!touch {done}")
        wait_until(done.exists, 30)
        return self._log.read_text()[before:]

    def _give(self, line: str) -> None:
        """Of two lines that come at once it waits with the second until there is a third."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        pipe = self._process.stdin.fileno()
        unread = bytes(4)
        wait_until(lambda: fcntl.ioctl(pipe, termios.FIONREAD, unread) == unread, 30)

    def read(self, path: str) -> bytes:
        target = self._folder / f"file-{self._asked}"
        said = self.do(f'get "{path}" {target}')
        assert target.exists(), said
        return target.read_bytes()

    def names(self, path: str) -> set[str]:
        """Of the files and folders in a folder."""
        lines = self.do(f'ls "{path}/*"').splitlines()
        return {line[2:].split("  ")[0].strip() for line in lines if line.startswith("  ")}

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def served(library: Library, scratch: Scratch) -> Iterator[Client]:
    """The folder in which the mount point lies is shared, and a client is connected."""
    library.mount()
    server = Server(scratch, library.mount_point.parent)
    client = Client(scratch, server.port)
    yield client
    client.end()
    server.end()


def _below(library: Library, path: Path) -> str:
    return str(path.relative_to(library.mount_point.parent))


def test_a_client_lists_and_reads(library: Library, served: Client) -> None:
    photo = library.uncached(r"\.JPG$")
    assert {path.name for path in photo.parent.iterdir()} <= served.names(
        _below(library, photo.parent)
    )
    assert served.read(_below(library, photo)) == library.truth(photo)


def test_it_goes_on_after_a_remount(library: Library, served: Client) -> None:
    first, other = list(library.files("Library"))[:2]
    assert served.read(_below(library, first)) == library.truth(first)
    names = served.names(_below(library, other.parent))

    library.unmount()
    library.mount()

    assert served.names(_below(library, other.parent)) == names
    assert served.read(_below(library, first)) == library.truth(first)
    assert served.read(_below(library, other)) == library.truth(other)


def test_nothing_can_be_written(library: Library, served: Client, tmp_path: Path) -> None:
    local = tmp_path / "new.jpg"
    local.write_bytes(b"x")
    assert "NT_STATUS" in served.do(f'put {local} "{library.mount_point.name}/new.jpg"')
    assert not (library.mount_point / "new.jpg").exists()
