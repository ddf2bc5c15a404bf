"""``icloudfs status``: what is known, what is here, what went wrong. It never asks the network."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import datetime
from typing import Any

import click
import msgspec
import trio

from icloudfs.apple import SessionStore
from icloudfs.cli.options import account_options, with_account
from icloudfs.cli.reporting import size
from icloudfs.config import Settings
from icloudfs.control import client
from icloudfs.control.messages import Look
from icloudfs.control.socket import socket_path
from icloudfs.errors import IcloudfsError
from icloudfs.progress import to_nobody
from icloudfs.state import lock
from icloudfs.state.database import connect, database_path
from icloudfs.state.summary import Run, Summary, list_status, summarise
from icloudfs.tree.directory import Directory

_MOST_LISTED = 200
_PATIENCE = 2.0
"""Seconds for a running icloudfs to say what it is at."""


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="All of it, for programs.")
@click.option("--failed", "wanted", flag_value="failed", help="List photos that could not be had.")
@click.option("--pending", "wanted", flag_value="pending", help="List photos not downloaded yet.")
@click.option("--downloaded", "wanted", flag_value="downloaded", help="List photos that are here.")
@account_options(log_level="error")
def command(settings: Settings, as_json: bool, wanted: str | None) -> None:
    """Show the state of the library, the cache and the sign-in."""
    settings = with_account(settings)
    everything = _everything(settings, wanted)
    if as_json:
        click.echo(json.dumps(everything, indent=2))
    else:
        _print(settings, everything)


def _everything(settings: Settings, wanted: str | None) -> dict[str, Any]:
    path = database_path(settings.cookie_directory, settings.username)
    everything: dict[str, Any] = {
        "account": settings.username,
        "signed_in": SessionStore(settings.cookie_directory, settings.username).session.is_usable,
        "running": lock.holder(settings.cookie_directory, settings.username),
        "database": str(path) if path.exists() else None,
    }
    if everything["running"]:
        everything["now"] = trio.run(_now, settings)
    if not path.exists():
        return everything
    connection = connect(path, write=False)
    everything |= msgspec.to_builtins(summarise(connection))
    if wanted:
        directory = Directory(connection)
        everything["listed"] = [
            row | {"paths": directory.places_of_asset(int(str(row.pop("id"))))}
            for row in list_status(connection, wanted, _MOST_LISTED)
        ]
    connection.close()
    return everything


async def _now(settings: Settings) -> dict[str, Any] | None:
    """What the running icloudfs is at; None if it does not answer."""
    path = socket_path(settings.cookie_directory, settings.username)
    with trio.move_on_after(_PATIENCE), suppress(IcloudfsError):
        now: dict[str, Any] = await client.ask(path, Look(), to_nobody)
        return now
    return None


def _print(settings: Settings, everything: dict[str, Any]) -> None:
    click.echo(f"Account     {everything['account']}")
    click.echo(f"Sign-in     {'kept' if everything['signed_in'] else 'needed: icloudfs login'}")
    click.echo(f"Running     {everything['running'] or 'no'}")
    for transfer in (everything.get("now") or {}).get("transfers", ()):
        done, whole, rate = size(transfer["done"]), size(transfer["size"]), size(transfer["rate"])
        click.echo(f"Transfer    {transfer['path']}: {done} of {whole}, {rate}/s")
    if everything["database"] is None:
        click.echo("Library     never listed: icloudfs sync")
        return
    summary = msgspec.convert({key: everything[key] for key in Summary.__struct_fields__}, Summary)
    assets, cache = summary.assets, summary.cache
    click.echo(
        f"Library     {assets.visible} photos"
        f" ({assets.hidden} hidden, {assets.deleted} recently deleted besides),"
        f" {assets.files} files, {size(assets.bytes)}"
    )
    click.echo(
        f"Downloaded  {assets.downloaded} photos; {assets.pending} pending, {assets.failed} failed"
    )
    limit = f" of {size(settings.cache_limit)}" if settings.cache_limit else ""
    click.echo(f"Cache       {cache.contents} files, {size(cache.bytes)}{limit}")
    for zone in summary.zones:
        state = "listed" if zone.listed else "being listed"
        click.echo(f"Zone        {zone.name}: {zone.photos} photos, {state}")
    for run in summary.runs:
        click.echo(f"Sync        {_describe(run)}")
    for row in everything.get("listed", ()):
        where = row["paths"][0] if row["paths"] else row["filename"] or row["asset_id"]
        click.echo(f"{where}\t{row['last_error'] or ''}".rstrip())


def _describe(run: Run) -> str:
    started = datetime.fromtimestamp(run.started_at).astimezone().strftime("%x %X")
    what = f"{run.assets_seen} photos, {run.api_calls} calls, {size(run.bytes)}"
    if run.completed_at is not None:
        return f"{started}  {run.kind or 'no change'}, {what}, {run.completed_at - run.started_at:.1f} s"
    if run.interrupted:
        return f"{started}  interrupted, {what}: {run.error or 'the process ended'}"
    return f"{started}  under way for {time.time() - run.started_at:.0f} s"
