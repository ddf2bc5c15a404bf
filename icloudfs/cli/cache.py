"""``icloudfs cache``: what is kept here, and what shall be."""

from __future__ import annotations

import functools
from typing import Any

import click
import trio

from icloudfs import library
from icloudfs.cli.options import account_options, with_account
from icloudfs.cli.reporting import reporting, tell_failures
from icloudfs.cli.running import cache_limit, running
from icloudfs.config import Settings
from icloudfs.control.messages import Evict, Pin, Prefetch, Request
from icloudfs.errors import Incomplete, StillGrowing
from icloudfs.state.database import database_path, look
from icloudfs.state.summary import summarise
from icloudfs.units import parse_size, size


@click.group("cache", invoke_without_command=True)
@account_options(log_level="error")
@click.pass_context
def command(ctx: click.Context, settings: Settings) -> None:
    """Show the cache's use and limit, or change what is in it. Paths are those in the mount."""
    if ctx.invoked_subcommand is None:
        _show(with_account(settings))


def _show(settings: Settings) -> None:
    path = database_path(settings.cookie_directory, settings.username)
    runs = running(settings)
    limit = cache_limit(settings, None if runs is None else runs.now)
    connection = look(path)
    if connection is not None:
        cache = summarise(connection).cache
        click.echo(f"Directory  {cache.directory or settings.account_cache()}")
        click.echo(f"Use        {size(cache.bytes)} in {cache.contents} files")
    click.echo(f"Limit      {size(limit) if limit else 'none'}")


@command.command("prefetch")
@click.argument("paths", nargs=-1, required=True)
@account_options(log_level="error")
def prefetch(settings: Settings, paths: tuple[str, ...]) -> None:
    """Download what lies at or below PATHS."""
    _fetched(_do(settings, Prefetch(paths=paths)))


@command.command("pin")
@click.argument("paths", nargs=-1, required=True)
@account_options(log_level="error")
def pin(settings: Settings, paths: tuple[str, ...]) -> None:
    """Download what lies at or below PATHS and never evict it."""
    _fetched(_do(settings, Pin(paths=paths)))


@command.command("unpin")
@click.argument("paths", nargs=-1, required=True)
@account_options(log_level="error")
def unpin(settings: Settings, paths: tuple[str, ...]) -> None:
    """Let what lies at or below PATHS be evicted again."""
    done = _do(settings, Pin(paths=paths, pinned=False))
    click.echo(f"{done['unpinned']} files may be evicted again")


def _bytes(ctx: click.Context, option: click.Parameter, text: str | None) -> int | None:
    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, option) from None


@command.command("evict")
@click.argument("paths", nargs=-1)
@click.option(
    "--bytes", "wanted", metavar="SIZE", callback=_bytes, help="No more than so much, oldest first."
)
@account_options(log_level="error")
def evict(settings: Settings, paths: tuple[str, ...], wanted: int | None) -> None:
    """Remove content from the cache: below PATHS, or all that is not pinned or in use."""
    done = _do(settings, Evict(paths=paths, bytes=wanted))
    click.echo(f"{size(done['bytes'])} freed")


def _do(settings: Settings, request: Request) -> dict[str, Any]:
    settings = with_account(settings)
    with reporting() as report:
        done: dict[str, Any] = trio.run(
            functools.partial(library.perform, settings, request, report)
        )
    return done


def _fetched(done: dict[str, Any]) -> None:
    click.echo(
        f"{done['fetched']} files fetched ({size(done['bytes'])}), {done['already']} here already"
    )
    tell_failures(done)
    if done["failed_count"]:
        raise Incomplete(
            f"{done['failed_count']} files could not be had.", hint="See: icloudfs status --failed"
        )
    if not done["library_complete"]:
        raise StillGrowing("The library is not listed to its end yet: more may belong there.")
