"""``icloudfs verify``: is what was downloaded still there, and still right?"""

from __future__ import annotations

import functools
import json
from typing import Any

import click
import trio

from icloudfs import library
from icloudfs.cli.options import account_options, with_account
from icloudfs.cli.reporting import reporting
from icloudfs.config import Settings
from icloudfs.control.messages import Verify
from icloudfs.errors import Incomplete

_MOST_SHOWN = 50


@click.command("verify")
@click.option(
    "--checksums", is_flag=True, help="Read everything and compare with Apple's checksums."
)
@click.option(
    "--repair", is_flag=True, help="Fetch again what is bad; remove what belongs to nothing."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@account_options(log_level="error")
def command(settings: Settings, checksums: bool, repair: bool, as_json: bool) -> None:
    """Check every downloaded file. Ends with exit code 16 if anything is wrong and was not mended."""
    settings = with_account(settings)
    request = Verify(checksums=checksums, repair=repair)
    with reporting() as report:
        result = trio.run(functools.partial(library.perform, settings, request, report))
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        _print(result, checksums)
    if not result["ok"]:
        also = " --checksums" if checksums else ""
        raise Incomplete(
            "Not everything is as it should be.",
            hint="" if repair else f"Mend it with: icloudfs verify{also} --repair",
        )


def _print(result: dict[str, Any], checksums: bool) -> None:
    click.echo(
        f"{result['checked']} files checked: {result['verified']} verified,"
        f" {result['unverifiable']} cannot be verified, {result['missing']} missing,"
        f" {result['wrong_size']} of wrong size, {result['corrupt']} damaged,"
        f" {result['orphans']} belong to nothing; {result['repaired']} mended"
    )
    if result["checked"] and not checksums:
        click.echo("Only their sizes were looked at; to read them all: icloudfs verify --checksums")
    for problem in result["problems"][:_MOST_SHOWN]:
        click.echo(f"  {_told(problem)}")
    problems = sum(result[kind] for kind in ("missing", "wrong_size", "corrupt", "orphans"))
    if problems > _MOST_SHOWN:
        click.echo(f"  and {problems - _MOST_SHOWN} more; --json tells of them")


def _told(problem: dict[str, Any]) -> str:
    """What is wrong with one file, and what became of it."""
    where = next(iter(problem["paths"]), problem["local_path"] or problem["filename"])
    mended = " Mended." if problem["repaired"] else ""
    return f"{where}: {problem['reason']}{mended}"
