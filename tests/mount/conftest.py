"""What a machine must have for real mounts; as root, it is set up here and put back afterwards."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fusectl import control_filesystem
from tests.mount.library import Library

DEVICE = Path("/dev/fuse")
FUSE_CONF = Path("/etc/fuse.conf")


@pytest.fixture(scope="session", autouse=True)
def _fuse() -> Iterator[None]:
    """/dev/fuse for everybody, and the control filesystem, as systemd has them."""
    assert os.geteuid() == 0, "these tests mount as several users: run them as root"
    assert DEVICE.exists(), "there is no /dev/fuse; in a container, pass --device /dev/fuse"
    mode = stat.S_IMODE(DEVICE.stat().st_mode)
    DEVICE.chmod(0o666)
    with control_filesystem():
        yield
    DEVICE.chmod(mode)


@pytest.fixture
def place() -> Iterator[Path]:
    """A scratch folder that every user can reach (pytest's own are root's alone)."""
    folder = Path(tempfile.mkdtemp(prefix="icloudfs-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def library(place: Path) -> Iterator[Library]:
    state = place / "state"
    state.mkdir()
    library = Library(state / "me.db")
    yield library
    library.close()


@pytest.fixture
def fuse_conf() -> Iterator[Path]:
    """/etc/fuse.conf, put back afterwards; whatever the machine says, users may not mount for others."""
    before = FUSE_CONF.read_text() if FUSE_CONF.exists() else None
    FUSE_CONF.write_text((before or "").replace("\nuser_allow_other", ""))
    yield FUSE_CONF
    if before is None:
        FUSE_CONF.unlink()
    else:
        FUSE_CONF.write_text(before)


@pytest.fixture
def _user_allow_other(fuse_conf: Path) -> None:
    """Let ordinary users mount for others."""
    fuse_conf.write_text(fuse_conf.read_text() + "\nuser_allow_other\n")
