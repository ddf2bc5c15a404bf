"""Every path that is taken or read, with every odd name: it comes out as it went in, or is refused in words."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from icloudfs import config, logs, pathtext
from icloudfs.cache.places import Places
from icloudfs.config import Settings
from icloudfs.control import client, server
from icloudfs.control.messages import ImportExisting, Look, decode_request, encode
from icloudfs.control.socket import socket_path
from icloudfs.desktop.seeds import Seeds
from icloudfs.errors import CacheUnusable, IcloudfsError
from icloudfs.mount import background, mount_table
from icloudfs.mount.background import Outcome
from icloudfs.mount.service import Service
from icloudfs.passwords import kept_password
from icloudfs.progress import to_nobody
from icloudfs.state import contents, lock
from icloudfs.state.database import Database, database_path
from icloudfs.state.summary import summarise
from tests.odd import NAMES

ACCOUNT = "alice@example.com"


@pytest.fixture(params=list(NAMES.values()), ids=list(NAMES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory of such a name, in which another of that name can be made."""
    directory = tmp_path / str(request.param)
    directory.mkdir()
    return directory


# -- what is kept there ------------------------------------------------------------------------------


def test_the_state(place: Path) -> None:
    """And that of a cache which is called the same."""
    database = Database(database_path(place, ACCOUNT))
    try:
        said = pathtext.kept(place)
        assert not database.write_now(lambda c: contents.set_directory(c, said, "one"))
        assert database.write_now(lambda c: contents.set_directory(c, said, "one"))
        assert summarise(database.reader).cache.directory == str(place)
    finally:
        database.close()
    assert [path.name for path in place.iterdir()] == [f"{ACCOUNT}.db"]


def test_the_lock(place: Path) -> None:
    folder = place / place.name
    with lock.WriterLock(place, ACCOUNT, lock.mounted_on(folder)):
        holder = lock.holder(place, ACCOUNT)
        assert holder == f"mounted on {folder}, process {os.getpid()}"
        assert [*lock.daemons(place)] == [lock.Daemon(folder, os.getpid())]
    assert [*lock.daemons(place)] == []


def test_the_cache(place: Path) -> None:
    places = Places(place / place.name)
    assert places.prepare() is False
    fd = places.open_new(places.new_part("AQ=="))
    os.close(fd)
    shutil.rmtree(places.directory)
    os.close(places.open_new(places.new_part("AQ==")))
    places.leave()


def test_a_cache_that_cannot_be(place: Path) -> None:
    (place / "file").write_text("")
    with pytest.raises(CacheUnusable) as refused:
        Places(place / "file" / "below").prepare()
    assert str(place) in str(refused.value)


def test_thumbnails(place: Path) -> None:
    seeds = Seeds(place / "seeds.db", place / "thumbnails", place)
    seeds.open()
    seeds.close()
    assert (place / "seeds.db").exists()


def test_the_log(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    file = place / f"{place.name[:60]}.log"
    logs.configure("info", file)
    logging.getLogger("icloudfs").info("mounted on %s", place)
    root.handlers[-1].close()
    assert "mounted on" in file.read_bytes().decode()


async def test_the_password(place: Path) -> None:
    file = place / "password"
    file.write_text("secret\n")
    file.chmod(0o600)
    assert await kept_password(Settings(username="me", password_file=file)) == "secret"
    file.chmod(0o644)
    with pytest.raises(IcloudfsError) as refused:
        await kept_password(Settings(username="me", password_file=file))
    assert str(file) in str(refused.value)


def test_the_settings(place: Path) -> None:
    file = place / "config.toml"
    file.write_text("interval = 0")
    with pytest.raises(IcloudfsError) as refused:
        config.load({}, file, {})
    assert str(file) in str(refused.value)
    file.write_text("interval = 7")
    assert config.load({}, file, {}).interval == 7


# -- what is told of it ------------------------------------------------------------------------------


async def test_the_socket(place: Path) -> None:
    """With a request that names the directory, an error that does, and a result."""

    async def handle(request: object, report: object) -> object:
        if isinstance(request, ImportExisting):
            raise IcloudfsError(f"No photos in {request.directory}.", hint=request.directory)
        return {"path": str(place)}

    path = socket_path(place, ACCOUNT)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, path, handle)
        assert await client.ask(path, Look(), to_nobody) == {"path": str(place)}
        with pytest.raises(IcloudfsError) as told:
            await client.ask(path, ImportExisting(directory=str(place)), to_nobody)
        assert str(told.value) == f"No photos in {place}." and told.value.hint == str(place)
        nursery.cancel_scope.cancel()


def test_how_the_daemon_fared(place: Path) -> None:
    outcome = Outcome(error=f"There is no folder {place}.", hint=f"mkdir {place}", exit_code=7)
    assert background._decode(pathtext.encoded(outcome)) == outcome


def test_what_systemd_hears(place: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        Service({"NOTIFY_SOCKET": str(tmp_path / "notify")}).stands(f"mounted on {place}")
        assert manager.recv(4096).decode().startswith("STATUS=mounted on ")


def test_what_is_printed(place: Path) -> None:
    """As it is, so that it can be given to a command again; on standard error as well."""
    program = (
        "import sys; from icloudfs.pathtext import print_as_they_are; print_as_they_are()\n"
        "for stream in (sys.stdout, sys.stderr): print(sys.argv[1], '\\ud800', file=stream, end='')"
    )
    done = subprocess.run([sys.executable, "-c", program, place], capture_output=True, check=True)
    assert done.stdout == done.stderr == os.fsencode(place) + b" \\ud800"


def test_the_mount_point(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.parent)
    assert mount_table.absolute(Path(place.name)) == place
    assert mount_table.absolute(Path(place.name, "..", place.name)) == place


# -- whatever it is ----------------------------------------------------------------------------------

_PATHS = st.binary(min_size=1, max_size=60).map(lambda raw: b"/" + raw.replace(b"\0", b"/"))


@given(_PATHS)
def test_any_path_can_be_kept_as_text(raw: bytes) -> None:
    path = Path(os.fsdecode(raw))
    kept = pathtext.kept(path)
    kept.encode()
    assert pathtext.shown(kept) == str(path)


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_any_text_can_be_sent(text: str) -> None:
    """Lone surrogates as well, that stand for no byte."""
    request = ImportExisting(directory=text)
    assert decode_request(encode(request)).directory == text


@pytest.mark.parametrize(
    "line", [b"", b"{", b"\xff", b"[" * 100_000, b'{"type":"Look","x":"\\ud800']
)
def test_what_is_no_json_is_one_error(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_request(line)
