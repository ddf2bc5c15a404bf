"""``icloudfs reset-state``: forget what is known of the library, keep the sign-in."""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from pathlib import Path

import apsw
import click

from icloudfs.cli.options import account_options, with_account
from icloudfs.config import Settings, make_state_directory
from icloudfs.desktop import seeds
from icloudfs.errors import ConfigError
from icloudfs.state.database import database_path
from icloudfs.state.lock import WriterLock


@click.command("reset-state")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--cache", "with_cache", is_flag=True, help="The downloaded content and thumbnails, too."
)
@account_options(log_level="error")
def command(settings: Settings, yes: bool, with_cache: bool) -> None:
    """Delete the state database. The next sync lists the library anew; nothing in iCloud changes.

    Refused while icloudfs runs for the account. Imported files are never touched.
    """
    settings = with_account(settings)
    with WriterLock(make_state_directory(settings), settings.username, "reset-state"):
        path = database_path(settings.cookie_directory, settings.username)
        what = f"{path} and {settings.account_cache()}" if with_cache else str(path)
        if not yes:
            _ask(what)
        # The database first: without it, what is left of the log means nothing.
        removed = [name for name in _database_files(path) if _remove(name)]
        if with_cache:
            _take_thumbnails_away(settings.account_cache() / seeds.DATABASE)
            shutil.rmtree(settings.account_cache(), ignore_errors=True)
    click.echo(f"Deleted {what}." if removed or with_cache else "There was no state.")


def _ask(what: str) -> None:
    """Raises ConfigError where nobody answers, and Abort after any answer but yes, which may come by a pipe."""
    try:
        click.confirm(f"Delete {what}?", abort=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)
        raise ConfigError(
            f"There was no yes to deleting {what}.", hint="Add --yes to do it."
        ) from None


def _take_thumbnails_away(database: Path) -> None:
    """Those in the desktop's cache: without their database nobody knows any more which are ours."""
    thumbnails = seeds.thumbnails_directory()
    if thumbnails is not None:
        with suppress(OSError, apsw.Error):
            seeds.take_away(database, thumbnails)


def _database_files(path: Path) -> list[Path]:
    return [path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")]


def _remove(path: Path) -> bool:
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed
