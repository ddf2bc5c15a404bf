"""``icloudfs install-units``: mounted by systemd, from log-in or from boot on."""

from __future__ import annotations

from pathlib import Path

import click

from icloudfs.errors import ConfigError
from icloudfs.systemd import installing
from icloudfs.systemd.installing import Folder, Machine, this_program


@click.command("install-units")
@click.option(
    "--user/--system",
    "for_user",
    default=None,
    help="For you (usual), or as root for this machine: a server or NAS.",
)
@click.option(
    "--automount",
    "folders",
    metavar="ACCOUNT FOLDER",
    type=(str, Path),
    multiple=True,
    help="With --system: also units that mount FOLDER when somebody looks.",
)
@click.option(
    "--undo", is_flag=True, help="Take out again what was put in place, and nothing else."
)
def command(for_user: bool | None, folders: tuple[tuple[str, Path], ...], undo: bool) -> None:
    """Put systemd units in place, and for --system the mount helper and the user 'icloudfs'.

    Nothing is started by it. Can be run again at any time.
    """
    machine = Machine(program=this_program())
    if folders and for_user is not False:
        raise ConfigError("systemd mounts folders for the whole machine only: add --system.")
    if for_user is not False:
        lines = (installing.undo_for_user if undo else installing.install_for_user)(machine)
    elif undo:
        lines = installing.undo_for_system(machine)
    else:
        wanted = [Folder(path, account) for account, path in folders]
        lines = installing.install_for_system(machine, wanted)
    try:
        for line in lines:
            click.echo(line)
    except PermissionError as error:
        raise ConfigError(f"{error.filename} cannot be written.", hint="Run it as root.") from error
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written: {error.strerror}.") from error
