"""Sets the stage: a simulator in a process of its own, an account signed in, a mount. Takes it all away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from icloudfs.errors import IcloudfsError, MountPointError
from icloudfs.passwords import VARIABLE
from icloudfs.simulator import KINDS, ORDINARY, Account

_PATIENCE = 30.0
"""Seconds for a process to end when it is told to."""


class Stage(msgspec.Struct, frozen=True):
    """What is running."""

    url: str
    """Of the simulator."""
    mount_point: Path
    environment: dict[str, str]
    """With it every ``icloudfs`` command means this account."""


@contextmanager
def setting(
    mount_point: Path | None, assets: int, views: Sequence[str], kind: str = ORDINARY
) -> Iterator[Stage]:
    """Everything up and signed in, with the mount ready; everything gone afterwards."""
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="icloudfs-demo-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        place = _mount_point(mount_point, home, stack)
        url = stack.enter_context(_simulator(assets, kind))
        account = KINDS[kind].account
        environment = environment_of(account, url, home)
        run(environment, "login", "--code", account.code)
        run(environment, "sync", "--mirror", "demand")
        chosen = [flag for view in views for flag in ("--views", view)]
        log = ("--log-file", str(home / "daemon.log"))
        # What is done on the phone shall be seen at once.
        run(environment, "mount", str(place), "--interval", "2", *log, *chosen)
        stack.callback(_unmount, environment, place)
        yield Stage(url, place, environment)


def environment_of(account: Account, url: str, home: Path) -> dict[str, str]:
    """With it every ``icloudfs`` command means this account, with state and cache below ``home``."""
    return os.environ | {
        "ICLOUDFS_USERNAME": account.apple_id,
        "ICLOUDFS_ENDPOINT": url,
        "ICLOUDFS_COOKIE_DIRECTORY": str(home / "state"),
        "ICLOUDFS_CACHE_DIR": str(home / "cache"),
        # They would stay behind in the thumbnail cache of whoever tries it.
        "ICLOUDFS_THUMBNAILS": "false",
        VARIABLE: account.password,
    }


def _unmount(environment: dict[str, str], place: Path) -> None:
    # Whoever tries the demo may have unmounted it already.
    with suppress(IcloudfsError):
        run(environment, "unmount", "--lazy", str(place))


def _mount_point(chosen: Path | None, home: Path, stack: ExitStack) -> Path:
    """The folder that was asked for, made if need be, or one of our own."""
    place = chosen or home / "photos"
    if not place.exists():
        try:
            place.mkdir(parents=True)
        except OSError as error:
            raise MountPointError(f"{place} cannot be made: {error.strerror}.") from error
        stack.callback(_remove_if_empty, place)
    return place


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


@contextmanager
def _simulator(assets: int, kind: str) -> Iterator[str]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "icloudfs", "simulator"),
            *("--assets", str(assets), "--account", kind),
        ],
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C is for the demo, which ends the simulator last.
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise IcloudfsError("The local iCloud did not start.")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_PATIENCE)


def run(environment: dict[str, str], *arguments: str) -> str:
    """Run one icloudfs command as a person would; what it prints.

    Raises IcloudfsError with its complaint and its exit code.
    """
    done = subprocess.run(
        [sys.executable, "-m", "icloudfs", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        complaint = done.stderr.strip().removeprefix("icloudfs: ")
        error = IcloudfsError(f"'icloudfs {arguments[0]}' failed: {complaint}")
        error.exit_code = done.returncode
        raise error
    return done.stdout
