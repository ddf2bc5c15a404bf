"""``icloudfs import-existing``: use photos that are on this machine already."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Literal, cast

import click
import trio

from icloudfs import library
from icloudfs.cli.options import account_options, with_account
from icloudfs.cli.reporting import reporting
from icloudfs.config import Settings
from icloudfs.control.messages import ImportExisting
from icloudfs.errors import ConfigError, Incomplete, StillGrowing
from icloudfs.units import size

_MOST_SHOWN = 50


@click.command("import-existing")
@click.option(
    "-d",
    "--directory",
    required=True,
    type=click.Path(path_type=Path),
    help="Where the photos lie.",
)
@click.option(
    "--match",
    type=click.Choice(["content", "name-size"]),
    default="content",
    show_default=True,
    help="name-size is quick, and proves less.",
)
@click.option(
    "--reflink", "how", flag_value="reflink", help="Bring them into the cache by reflink."
)
@click.option("--link", "how", flag_value="link", help="… by hard link.")
@click.option("--copy", "how", flag_value="copy", help="… by copying.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@account_options(log_level="error")
def command(
    settings: Settings,
    directory: Path,
    match: str,
    how: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Find files that are photos of the library, by their content, and use them where they lie.

    Names and folders do not matter. Without --reflink, --link or --copy nothing is copied: the mount
    serves the files themselves, for as long as they do not change.
    """
    settings = with_account(settings)
    if not directory.is_dir():
        raise ConfigError(f"{directory} is no directory.")
    request = ImportExisting(
        directory=str(directory.resolve()),
        match=cast(Literal["content", "name-size"], match),
        how=cast(Literal["use", "reflink", "link", "copy"], how or "use"),
        dry_run=dry_run,
    )
    with reporting() as report:
        result = trio.run(functools.partial(library.perform, settings, request, report))
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        _print(result, dry_run)
    if not result["library_complete"]:
        raise StillGrowing(
            "The library is not listed to its end yet: what matches nothing may be in it all the same."
        )
    if result["errors_count"]:
        raise Incomplete(f"{result['errors_count']} files could not be read or used.")


def _print(result: dict[str, Any], dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    click.echo(
        f"{result['scanned']} files looked at, {result['hashed']} read"
        f" ({size(result['hashed_bytes'])}): {result['matched']} {would}imported"
        f" ({size(result['adopted_bytes'])}), {result['already']} here already,"
        f" {result['unmatched_count']} match nothing"
    )
    for path in result["unmatched"][:_MOST_SHOWN]:
        click.echo(f"  no match  {path}")
    if (more := result["unmatched_count"] - _MOST_SHOWN) > 0:
        click.echo(f"  … and {more} more; --json lists {len(result['unmatched'])} of them")
    for error in result["errors"][:_MOST_SHOWN]:
        click.echo(f"  {error}", err=True)
