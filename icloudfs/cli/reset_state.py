"""``icloudfs reset-state``: forget what is known of the library, keep the sign-in."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from icloudfs.cli.options import account_options, with_account
from icloudfs.config import Settings, make_state_directory
from icloudfs.state.database import database_path
from icloudfs.state.lock import WriterLock


@click.command("reset-state")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--cache", "with_cache", is_flag=True, help="The downloaded content, too.")
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
            click.confirm(f"Delete {what}?", abort=True)
        # The database first: without it, what is left of the log means nothing.
        removed = [name for name in _database_files(path) if _remove(name)]
        if with_cache:
            shutil.rmtree(settings.account_cache(), ignore_errors=True)
    click.echo(f"Deleted {what}." if removed or with_cache else "There was no state.")


def _database_files(path: Path) -> list[Path]:
    return [path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")]


def _remove(path: Path) -> bool:
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed
