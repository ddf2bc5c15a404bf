"""``icloudfs desktop``: small pictures in file managers that ask for them, and indexers kept out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click

from icloudfs.desktop import installing
from icloudfs.desktop.installing import Machine
from icloudfs.errors import ConfigError
from icloudfs.mount import mount_table


@click.group("desktop")
def command() -> None:
    """Tell this desktop about the mounted library, or undo that."""


@command.command("install")
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=Path)
def install(folders: tuple[Path, ...]) -> None:
    """Show Apple's small pictures in Nautilus, Caja and Thunar, and keep Baloo out of the mounts.

    FOLDER: where the library is mounted; without one, wherever one is now. Can be run again at any time.
    As root, locate is kept out too.
    """
    mounted = [mounted.path for mounted in mount_table.all_of_ours()]
    places = [mount_table.absolute(folder) for folder in folders] or mounted
    if not places:
        raise ConfigError(
            "No library is mounted.", hint="Name its folder: icloudfs desktop install ~/Photos"
        )
    _say(installing.install, places)


@command.command("uninstall")
def uninstall() -> None:
    """Undo what 'install' did, and nothing else."""
    _say(installing.uninstall)


def _say(do: Callable[..., Iterator[str]], *arguments: object) -> None:
    try:
        for line in do(Machine(), *arguments):
            click.echo(line)
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written: {error.strerror}.") from error
