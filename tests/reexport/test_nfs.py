"""An NFS server of the usual kind serves the mount: what its clients keep stays good across a remount.

It runs with its port mapper where nobody else's network is. While it serves the mount it holds it open, so it
is stopped for the remount, as one would; its clients wait, and go on with the handles that they have.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scratch import Scratch, wait_until
from tests.whole.library import Library

_SETTINGS = """
NFS_CORE_PARAM {{ NFS_Protocols = 3, 4; Enable_NLM = false; }}
NFSv4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = {folder}; }}
EXPORT {{
  Export_Id = 1;
  Path = {shared};
  Pseudo = /photos;
  Access_Type = RW;
  Squash = No_Root_Squash;
  Protocols = 3, 4;
  Transports = TCP;
  Filesystem_id = 7.7;
  FSAL {{ Name = VFS; }}
}}
"""
"""``Filesystem_id`` as ``fsid=`` in /etc/exports: a FUSE mount has no number of its own that lasts. RW: that
nothing can be written is for the mount to say."""


class Network:
    """One with nothing in it but a loopback device and a port mapper."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        alone = "ip link set lo up && exec rpcbind -f"
        self._process = scratch.start("unshare", "--net", "sh", "-c", alone)
        wait_until(lambda: scratch.run(*self._inside, "rpcinfo", check=False).returncode == 0)

    def start(self, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
        return self._scratch.start(*self._inside, *command, **options)

    def serves_mounts(self) -> bool:
        """Whether an NFS server has come up."""
        shown = self._scratch.run(*self._inside, "rpcinfo", "-p", check=False).stdout
        return {"100003", "100005"} <= {line.split()[0] for line in shown.splitlines()}

    @property
    def _inside(self) -> tuple[str, ...]:
        return ("nsenter", f"--net=/proc/{self._process.pid}/ns/net")

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(10)


class Server:
    """NFS-Ganesha."""

    def __init__(self, scratch: Scratch, network: Network, shared: Path) -> None:
        self._folder = scratch.folder / "ganesha"
        self._folder.mkdir()
        settings = _SETTINGS.format(folder=self._folder, shared=shared)
        (self._folder / "ganesha.conf").write_text(settings)
        self._network = network
        self.start()

    def start(self) -> None:
        files = (("-f", "ganesha.conf"), ("-L", "ganesha.log"), ("-p", "ganesha.pid"))
        words = [word for flag, name in files for word in (flag, self._folder / name)]
        self._process = self._network.start("ganesha.nfsd", "-F", *words)
        wait_until(self._network.serves_mounts, 30)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


class Client:
    """Of that server (nfs_client.py)."""

    def __init__(self, network: Network, export: Path) -> None:
        self._process = network.start(
            *(sys.executable, "-m", "tests.reexport.nfs_client", export),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, word: str, argument: str | int) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{word} {argument}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


@pytest.fixture
def network(scratch: Scratch) -> Iterator[Network]:
    network = Network(scratch)
    yield network
    network.end()


@pytest.fixture
def server(library: Library, scratch: Scratch, network: Network) -> Iterator[Server]:
    library.mount()
    server = Server(scratch, network, library.mount_point)
    yield server
    server.stop()


@pytest.fixture
def client(library: Library, network: Network, server: Server) -> Iterator[Client]:
    client = Client(network, library.mount_point)
    yield client
    client.end()


def _below(library: Library, path: Path) -> str:
    return f"/{path.relative_to(library.mount_point)}"


def _content(library: Library, path: Path) -> dict[str, Any]:
    content = library.truth(path)
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_a_client_lists_and_reads(library: Library, client: Client) -> None:
    photo = library.uncached(r"\.JPG$")
    names = client.ask("names", _below(library, photo.parent))
    assert names == sorted(path.name for path in photo.parent.iterdir())
    number = client.ask("open", _below(library, photo))
    assert client.ask("read", number) == _content(library, photo)


def test_its_handles_are_good_after_a_remount(
    library: Library, server: Server, client: Client
) -> None:
    first, other = list(library.files("Library"))[:2]
    names = client.ask("names", _below(library, other.parent))
    kept = [client.ask("open", _below(library, path)) for path in (first, other)]
    assert client.ask("read", kept[0]) == _content(library, first)

    server.stop()
    library.unmount()
    library.mount()
    server.start()

    assert client.ask("read", kept[0]) == _content(library, first)
    assert client.ask("read", kept[1]) == _content(library, other)
    assert client.ask("names", _below(library, other.parent)) == names


def test_nothing_can_be_written(library: Library, client: Client) -> None:
    assert "ROFS" in client.ask("create", "/new.jpg")["error"]
    assert not (library.mount_point / "new.jpg").exists()
