"""``icloudfs sync``: bring the list of photos up to date, and the photos themselves."""

from __future__ import annotations

import functools
from typing import Any, get_args

import click
import trio

from icloudfs import library
from icloudfs.cli.options import account_options, with_account
from icloudfs.cli.reporting import reporting
from icloudfs.config import Settings
from icloudfs.control.messages import Sync
from icloudfs.errors import Incomplete
from icloudfs.sync.mirror import Mirror, Policy
from icloudfs.units import size

_MOST_NAMED = 5
"""Refused parts that are named; ``status`` has them all."""


@click.command("sync")
@click.option(
    "--mirror",
    "what",
    type=click.Choice(get_args(Policy)),
    default="everything",
    show_default=True,
    help="Which photos to download as well; demand: none.",
)
@click.option("--days", default=30, show_default=True, help="For --mirror newest.")
@click.option("--album", "albums", multiple=True, help="For --mirror albums: a path below Albums.")
@click.option("--no-incremental", is_flag=True, help="List every library anew.")
@click.option("--reset-sync-token", is_flag=True, help="Forget the sync tokens first.")
@account_options(log_level="error")
def command(
    settings: Settings,
    what: Policy,
    days: int,
    albums: tuple[str, ...],
    no_incremental: bool,
    reset_sync_token: bool,
) -> None:
    """Bring the list of photos up to date, then download what --mirror says.

    Beside a running icloudfs it is that one that does it. What was cut off goes on where it was.
    """
    settings = with_account(settings)
    request = Sync(
        incremental=not no_incremental,
        reset_tokens=reset_sync_token,
        mirror=Mirror(what, days, albums),
    )
    with reporting() as report:
        result = trio.run(functools.partial(library.perform, settings, request, report))
    _print(result)
    if result["failed"]:
        raise Incomplete(
            f"{result['failed']} files could not be downloaded.",
            hint="See: icloudfs status --failed; then: icloudfs retry-failed",
        )
    if result["refused"] or result["refused_records"]:
        raise Incomplete(
            f"Everything else is done, but iCloud refuses to give {_refused(result)}.",
            hint="A later sync asks for it again, a mounted library by itself. See: icloudfs status",
        )
    if result["left_out"]:
        raise Incomplete(
            f"{result['left_out']} files were left out: there is no room for them.",
            hint="Raise cache_limit, make room on the disk, or ask for fewer with --mirror.",
        )


def _refused(result: dict[str, Any]) -> str:
    told = list(result["refused"][:_MOST_NAMED])
    if (more := len(result["refused"]) - len(told)) > 0:
        told.append(f"{more} parts more")
    if records := result["refused_records"]:
        told.append(f"{records} single record{'s' if records > 1 else ''}")
    return "; ".join(told)


def _print(result: dict[str, Any]) -> None:
    click.echo(
        f"{result['seen']} photos in {result['calls']} calls"
        if result["kind"]
        else f"Nothing changed ({result['calls']} calls)"
    )
    if result["downloaded"] or result["left_out"]:
        click.echo(f"{result['downloaded']} files downloaded ({size(result['bytes'])})")
    if result["left_out"]:
        click.echo(f"{result['left_out']} files left out: there is no room for them")
        told = result["left_out_first"]
        for file in told:
            click.echo(f"  {file}")
        if (more := result["left_out"] - len(told)) > 0:
            click.echo(f"  and {more} more")
