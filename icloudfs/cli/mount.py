"""``icloudfs mount``: the library as a folder."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import trio

from icloudfs import config, descriptors, journal, memory
from icloudfs.apple import SessionStore
from icloudfs.apple.session import stem
from icloudfs.cli.options import account_options, with_account
from icloudfs.cli.reporting import reporting
from icloudfs.cli.running import Running, running
from icloudfs.config import Settings, make_state_directory
from icloudfs.control import client
from icloudfs.control.messages import AwaitListing
from icloudfs.control.socket import socket_path
from icloudfs.errors import AlreadyRunning, IcloudfsError, Incomplete, MountPointError
from icloudfs.mount import background, mount_table
from icloudfs.progress import Report
from icloudfs.tree.layout import View


@click.command("mount")
@click.argument("mount_point", type=Path)  # click.Path would look at it, and wait for a hung daemon
@click.option("-f", "--foreground", is_flag=True, help="Stay here until it is unmounted.")
@click.option(
    "--wait/--no-wait",
    default=None,
    help="Return when everything is listed, or as soon as the folder can be used. On a terminal: --wait,"
    " and Ctrl-C leaves it to the daemon.",
)
@click.option(
    "--stay-in-group",
    is_flag=True,
    hidden=True,
    help="In the background, be of this process group until everything is listed: as mount(8) needs it.",
)
@click.option("--allow-other", is_flag=True, default=None, help="Let other users look in.")
@click.option("--uid", type=int, help="Owner of every file, by number.")
@click.option("--gid", type=int, help="Group of every file, by number.")
@click.option("--umask", metavar="OCTAL", help="Permission bits to take away.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="context=LABEL",
    help="SELinux label of every file; also fscontext=, defcontext=, rootcontext=.",
)
@click.option(
    "--noxattr", is_flag=True, default=None, help="No extended attributes: faster 'ls -l'."
)
@click.option(
    "--neighbours/--no-neighbours",
    default=None,
    help="Whether to fetch ahead of who looks at one photo after another.",
)
@click.option(
    "--thumbnails/--no-thumbnails",
    default=None,
    help="Small pictures for file managers, or none.",
)
@click.option(
    "--views",
    multiple=True,
    type=click.Choice([view.value for view in View]),
    help="Show these directories only; may be given several times.",
)
@click.option("--cache-limit", metavar="SIZE", help="For example 20G; 0 for no limit.")
@click.option(
    "--verify", type=click.Choice(["normal", "strict"]), help="strict: never show a byte early."
)
@click.option("--interval", type=float, metavar="SECONDS", help="Between two looks at iCloud.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Until a stalled read fails.")
@account_options(log_level="info")
def command(
    settings: Settings, mount_point: Path, foreground: bool, wait: bool | None, stay_in_group: bool
) -> None:
    """Mount the library on an empty folder.

    Returns when the folder can be used. 'icloudfs unmount' or 'umount' ends it. Without --log-file the
    log is kept beside the state, or by the journal if systemd does the mount.

    Until everything is listed once, the folder grows, and each directory ends its listing with an error
    (EAGAIN) to programs other than file managers, so that no backup takes it for all.
    """
    settings = config.in_full(with_account(settings))
    mount_point = mount_table.in_full(mount_point)
    if foreground:
        _serve(settings, mount_point, background.Readiness(stays_in_group=stay_in_group))
        return
    waits = sys.stderr.isatty() if wait is None else wait
    in_full = bool(wait) and not stay_in_group
    runs = None if stay_in_group else running(settings)
    if runs is not None and runs.folder_gone:
        raise _out_of_sight(settings, runs)
    if waits and runs is not None and _can_wait_for(runs, mount_point, in_full=in_full):
        grows = runs.now is not None and not runs.now["listed"]
        _wait(partial(_until_listed, settings), in_full=in_full, grows=grows)
        return
    with _start(settings) as daemon:
        if not SessionStore(settings.cookie_directory, settings.username).session.is_usable:
            click.echo(_SIGNED_OUT, err=True)
        if daemon.is_listed:
            return
        if waits:
            _wait(daemon.until_listed, in_full=in_full, grows=True)
        elif wait is None:
            click.echo(_GOES_ON, err=True)


def _out_of_sight(settings: Settings, runs: Running) -> AlreadyRunning:
    return AlreadyRunning(
        f"icloudfs still runs for {settings.username} ({runs.holder}), but nothing is mounted there:"
        " programs may still use what was.",
        hint=f"End it first: icloudfs unmount {shlex.quote(str(runs.folder))}",
    )


def _can_wait_for(runs: Running, mount_point: Path, *, in_full: bool) -> bool:
    """Whether the library is mounted on the folder already, and there is something to wait for: its listing, or
    a script that asked to be told (``in_full``)."""
    if runs.now is None or "listed" not in runs.now or runs.folder is None or not runs.is_seen:
        return False
    there = mount_table.absolute(runs.folder) == mount_table.absolute(mount_point)
    return there and (in_full or not runs.now["listed"])


def _until_listed(settings: Settings, report: Report) -> list[str]:
    """What the daemon that runs already says that iCloud refused of the first listing, at its end."""
    path = socket_path(settings.cookie_directory, settings.username)
    try:
        refused: list[str] = trio.run(client.ask, path, AwaitListing(), report)
    except client.NobodyThere as error:
        raise MountPointError("The daemon ended before everything was listed.") from error
    return refused


def _start(settings: Settings) -> background.Started:
    if settings.log_file is None and journal.is_standard_error():
        return background.start(_again("--foreground"), output=None)
    log_file = settings.log_file or _default_log(settings)
    return background.start(_again("--foreground", "--log-file", str(log_file)), output=log_file)


def _wait(until_listed: Callable[[Report], list[str]], *, in_full: bool, grows: bool) -> None:
    """Wait for the end of the first listing. ``in_full``: it is a failure if that cannot be reached. ``grows``:
    it has not come yet."""
    try:
        if grows and sys.stderr.isatty():
            click.echo(_GROWING, err=True)
        with reporting() as report:
            refused = until_listed(report)
        if refused:
            raise Incomplete(
                f"It is mounted, but iCloud refuses to give {'; '.join(refused)}.",
                hint="It is asked for again by itself. See: icloudfs status",
            )
    except KeyboardInterrupt:
        click.echo("It goes on without you. See: icloudfs status", err=True)
    except IcloudfsError as error:
        if in_full:
            raise
        click.echo(f"icloudfs: {error}\n  {error.hint}".rstrip(), err=True)
    else:
        if sys.stderr.isatty():
            click.echo("Everything is listed.", err=True)


_SIGNED_OUT = (
    "It is mounted, but nobody is signed in: what is downloaded can be read, everything else fails, and the\n"
    "list stays as it was. Sign in: icloudfs login"
)
_GOES_ON = (
    "The folder is mounted, and grows: the first listing of the library goes on. Until it is done,\n"
    "directories say that they are not complete (EAGAIN). To wait for it: icloudfs mount --wait FOLDER"
)
_GROWING = (
    "The folder is mounted, and grows: this is the first listing of the library. Until it is done, backups\n"
    "and whatever else lists a directory are told that it is not complete (EAGAIN).\n"
    "Ctrl-C leaves it to the daemon."
)


def _again(*options: str) -> list[str]:
    """The command that is running, with more options. They come first: '--' may end the options.

    ``-P``: what is called icloudfs in the directory where one happens to be is not us.
    """
    command, *arguments = sys.argv[1:]
    return [sys.executable, "-P", "-m", "icloudfs", command, *options, *arguments]


def _default_log(settings: Settings) -> Path:
    return make_state_directory(settings) / f"{stem(settings.username)}.log"


def _serve(settings: Settings, mount_point: Path, readiness: background.Readiness) -> None:
    from icloudfs import daemon  # imports FUSE, which the parent does not need

    memory.share_heaps()
    os.chdir("/")  # the directory where it was started can be unmounted or removed
    descriptors.raise_limit()
    try:
        trio.run(partial(daemon.serve, settings, mount_point, readiness))
    except IcloudfsError as error:
        readiness.failed(error)
        raise
