"""``icloudfs unmount``."""

from __future__ import annotations

import functools
from pathlib import Path

import click
import trio

from icloudfs.mount import unmounting


@click.command("unmount")
@click.argument("mount_point", type=Path)  # click.Path would look at it, and wait for a hung daemon
@click.option("-l", "--lazy", is_flag=True, help="Even if programs have files open in it.")
def command(mount_point: Path, lazy: bool) -> None:
    """Unmount a folder, and wait until its daemon has ended."""
    trio.run(functools.partial(unmounting.unmount, mount_point, lazy=lazy))
