"""``icloudfs retry-failed``: fetch again what could not be had."""

from __future__ import annotations

import functools

import click
import trio

from icloudfs import library
from icloudfs.cli.options import account_options, with_account
from icloudfs.cli.reporting import reporting, tell_failures
from icloudfs.config import Settings
from icloudfs.control.messages import RetryFailed, Sync
from icloudfs.errors import Incomplete
from icloudfs.sync.mirror import Mirror
from icloudfs.units import size


@click.command("retry-failed")
@click.argument("names", nargs=-1)
@click.option("--no-incremental", is_flag=True, help="List every library anew first.")
@click.option("--reset-sync-token", is_flag=True, help="Forget the sync tokens first.")
@account_options(log_level="error")
def command(
    settings: Settings, names: tuple[str, ...], no_incremental: bool, reset_sync_token: bool
) -> None:
    """Fetch photos again that could not be had: NAMES (paths in the mount, or asset ids), or all.

    Each is looked up by itself; nothing is listed for it.
    """
    settings = with_account(settings)
    with reporting() as report:
        if no_incremental or reset_sync_token:
            sync = Sync(
                incremental=not no_incremental, reset_tokens=reset_sync_token, mirror=Mirror()
            )
            trio.run(functools.partial(library.perform, settings, sync, report))
        done = trio.run(
            functools.partial(library.perform, settings, RetryFailed(names=names), report)
        )
    click.echo(
        f"{done['fetched']} files fetched ({size(done['bytes'])}), {done['failed_count']} failed"
    )
    tell_failures(done)
    if done["failed_count"]:
        raise Incomplete("Some photos still cannot be had.", hint="See: icloudfs status --failed")
