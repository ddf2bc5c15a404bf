"""``icloudfs logout``: end the session, here and at Apple's side."""

from __future__ import annotations

import click
import trio

from icloudfs.cli.options import account_options, with_account
from icloudfs.config import Settings
from icloudfs.connection import connected
from icloudfs.errors import Offline
from icloudfs.passwords import forget_in_keyring


@click.command("logout")
@account_options(log_level="error")
def command(settings: Settings) -> None:
    """Sign out. The state and the cache stay; a running mount shows what is cached."""
    settings = with_account(settings)
    trio.run(_logout, settings)
    forget_in_keyring(settings.username)
    click.echo(f"Signed out {settings.username}.")


async def _logout(settings: Settings) -> None:
    async with connected(settings) as icloud:
        try:
            await icloud.logout()
        except Offline:
            click.echo("Apple could not be reached; the session is forgotten here.", err=True)
