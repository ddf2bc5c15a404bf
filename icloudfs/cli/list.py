"""``icloudfs list``: libraries and albums, with how much is in them. Never asks the network."""

from __future__ import annotations

import json
from typing import Any

import apsw
import click

from icloudfs.cli.options import account_options, with_account
from icloudfs.config import Settings
from icloudfs.errors import Incomplete, NeverListed
from icloudfs.state.database import database_path, look
from icloudfs.state.summary import Summary, knows_a_library, summarise
from icloudfs.tree.directory import Directory


@click.command("list")
@click.argument("what", type=click.Choice(["libraries", "albums"]), default="albums")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@account_options(log_level="error")
def command(settings: Settings, what: str, as_json: bool) -> None:
    """List the account's libraries, or its albums with the number of their photos."""
    settings = with_account(settings)
    connection = _database(settings)
    summary = summarise(connection)
    rows = _libraries(summary) if what == "libraries" else _albums(connection)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            click.echo(f"{row['photos']:>8}  {row['name']}")
    if refused := _refused(summary):
        raise Incomplete(
            f"It may not be complete: iCloud refuses to give {refused}.",
            hint="See: icloudfs status",
        )
    if not summary.complete:
        raise Incomplete(
            "It is not complete: the library is not listed to its end yet.",
            hint="See: icloudfs status",
        )


def _libraries(summary: Summary) -> list[dict[str, Any]]:
    return [{"name": zone.name, "photos": zone.photos} for zone in summary.zones]


def _albums(connection: apsw.Connection) -> list[dict[str, Any]]:
    rows = [{"name": path, "photos": photos} for path, photos in Directory(connection).albums()]
    return sorted(rows, key=lambda row: str(row["name"]).casefold())


def _refused(summary: Summary) -> str:
    """What is refused and may belong here, in words."""
    told = [part.told for part in summary.refused if not part.harmless]
    more = f"; {len(told) - 1} parts more" if len(told) > 1 else ""
    return told[0] + more if told else ""


def _database(settings: Settings) -> apsw.Connection:
    connection = look(database_path(settings.cookie_directory, settings.username))
    if connection is None or not knows_a_library(connection):
        raise NeverListed
    return connection
