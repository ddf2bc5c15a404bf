"""What may be wrong with this machine, and the command that mends it."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec
import trio

from icloudfs.apple import SessionStore, clock
from icloudfs.cache.disk import Disk, nearest
from icloudfs.config import Settings
from icloudfs.control import client
from icloudfs.control.socket import socket_path
from icloudfs.errors import DiskSilent, IcloudfsError
from icloudfs.mount import liveness, mount_table
from icloudfs.mount.fusermount import DEVICE
from icloudfs.mount.limits import CONNECTIONS
from icloudfs.mount.liveness import Life
from icloudfs.state.database import database_path, look
from icloudfs.state.summary import knows_a_library
from icloudfs.trust import RENEW, Trust

_FUSE_CONF = Path("/etc/fuse.conf")
_RELEASED = 1_790_000_000
"""Seconds since the epoch: this program did not exist before, so a clock that says so is wrong, and
certificates do not verify by it."""
_ROOM_AT_LEAST = 1 << 30
"""Bytes of disk below which reading photos soon fails."""
_PATIENCE = 10.0
"""Seconds for an answer of the disk that has the cache, which may have to spin up."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    about: str
    well: bool
    says: str
    mend: str = ""
    """A command, or a sentence, if it is not well."""


_NEVER_LISTED = Finding("library", False, "it was never listed", "icloudfs sync --mirror demand")


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything; nothing is changed, and the network is not asked."""
    for check in _LOOKS:
        yield check(settings)
    yield from _mounts()


def _device(settings: Settings) -> Finding:  # noqa: ARG001
    if not DEVICE.exists():
        return Finding("FUSE", False, f"there is no {DEVICE}", "sudo modprobe fuse")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Finding("FUSE", False, f"{DEVICE} is not yours to open", f"sudo chmod 666 {DEVICE}")
    return Finding("FUSE", True, f"{DEVICE} can be opened")


def _fusermount(settings: Settings) -> Finding:  # noqa: ARG001
    found = shutil.which("fusermount3")
    if found is None:
        return Finding("fusermount3", False, "it is not installed", "sudo apt-get install fuse3")
    return Finding("fusermount3", True, found)


def _allow_other(settings: Settings) -> Finding:
    about = "other users"
    if not settings.allow_other or os.geteuid() == 0:
        return Finding(about, True, "nothing to be allowed")
    try:
        lines = [line.strip() for line in _FUSE_CONF.read_bytes().split(b"\n")]
    except OSError:
        lines = []
    if b"user_allow_other" in lines:
        return Finding(about, True, f"{_FUSE_CONF} allows them")
    mend = f"echo user_allow_other | sudo tee -a {_FUSE_CONF}"
    return Finding(about, False, f"allow_other is set, but {_FUSE_CONF} does not allow it", mend)


def _background(settings: Settings) -> Finding:  # noqa: ARG001
    about = "slow reads"
    if CONNECTIONS.is_dir() and os.path.ismount(CONNECTIONS):
        return Finding(about, True, "many may wait at once")
    mend = f"sudo mount -t fusectl none {CONNECTIONS}"
    return Finding(about, False, "photos are read without read-ahead until they are whole", mend)


def _clock(settings: Settings) -> Finding:
    """As Apple's servers saw it the last time; and this program did not exist before it was released."""
    off = SessionStore(settings.cookie_directory, settings.username).session.clock_off
    if off:
        return Finding("clock", False, clock.sentence(off), "sudo timedatectl set-ntp true")
    if time.time() < _RELEASED:
        return Finding("clock", False, time.strftime("it says %F"), "sudo timedatectl set-ntp true")
    return Finding("clock", True, time.strftime("%F %T"))


def _state(settings: Settings) -> Finding:
    path = database_path(settings.cookie_directory, settings.username)
    try:
        connection = look(path)
        if connection is None:
            return _NEVER_LISTED
        with closing(connection):
            if not knows_a_library(connection):
                return _NEVER_LISTED
    except IcloudfsError as error:
        return Finding("library", False, str(error), error.hint)
    return Finding("library", True, str(path))


def _cache(settings: Settings) -> Finding:
    place = settings.account_cache()
    try:
        there, writable, room = trio.run(Disk().ask, partial(_room_at, place), _PATIENCE)
    except DiskSilent:
        says = f"the disk with {place} does not answer"
        return Finding("cache", False, says, "wake it or connect it, or choose another --cache-dir")
    except OSError as error:
        says = f"{place} cannot be used: {error.strerror}"
        return Finding("cache", False, says, "choose another --cache-dir")
    if not writable:
        return Finding("cache", False, f"{there} cannot be written", "choose another --cache-dir")
    if room < _ROOM_AT_LEAST:
        return Finding("cache", False, f"{room >> 20} MiB of disk are left", "icloudfs cache evict")
    return Finding("cache", True, f"{place}, {room >> 30} GiB of disk are left")


def _room_at(place: Path) -> tuple[Path, bool, int]:
    """The directory that is there already, whether it can be written, and the bytes that its disk has left."""
    there = nearest(place)
    return there, os.access(there, os.W_OK | os.X_OK), shutil.disk_usage(there).free


def _sign_in(settings: Settings) -> Finding:
    session = SessionStore(settings.cookie_directory, settings.username).session
    if not session.is_usable:
        return Finding("sign-in", False, "nobody is signed in", "icloudfs login")
    running = trio.run(client.look, socket_path(settings.cookie_directory, settings.username))
    if running and running["sign_in_needed"]:
        return Finding("sign-in", False, "it has run out", "icloudfs login")
    trust, now = Trust.of(session), time.time()
    if trust.until and (trust.until <= now or trust.ends_soon(now)):
        return Finding("sign-in", False, trust.told(now), RENEW)
    asked = "" if running else "; whether Apple still takes it shows when it is used"
    return Finding("sign-in", True, f"as {settings.username}{asked}")


def _mounts() -> Iterator[Finding]:
    """Those of this user: others' can be dead or alive without our being told."""
    for mounted in mount_table.all_of_ours():
        if mounted.user == os.geteuid():
            yield _mount(mounted.path)


def _mount(place: Path) -> Finding:
    match trio.run(liveness.look, place).life:
        case Life.ANSWERS:
            return Finding("mount", True, f"{place} answers")
        case Life.DEAD:
            says = f"{place} is dead: its daemon has ended"
        case Life.SILENT:
            says = f"{place} does not answer"
    return Finding("mount", False, says, f"icloudfs unmount {shlex.quote(str(place))}")


_LOOKS: tuple[Callable[[Settings], Finding], ...] = (
    _device,
    _fusermount,
    _allow_other,
    _background,
    _clock,
    _state,
    _cache,
    _sign_in,
)
