"""``icloudfs unmount``."""

from __future__ import annotations

import functools
from pathlib import Path

import click
import trio

from icloudfs import config
from icloudfs.mount import unmounting


@click.command("unmount")
@click.argument("mount_point", type=Path)  # click.Path would look at it, and wait for a hung daemon
@click.option("-l", "--lazy", is_flag=True, help="Even if programs have files open in it.")
@click.option(
    "--cookie-directory", type=Path, help="Where the daemon's lock is, if it cannot tell."
)
@click.option("--config", "config_file", type=Path, help="Another config file.")
def command(
    mount_point: Path, lazy: bool, cookie_directory: Path | None, config_file: Path | None
) -> None:
    """Unmount a folder, and wait until its daemon has ended.

    Also ends a daemon that does not answer, and one whose folder is gone already.
    """

    def state() -> Path:
        return config.load({"cookie_directory": cookie_directory}, config_file).cookie_directory

    trio.run(functools.partial(unmounting.unmount, mount_point, state, lazy=lazy))
