"""``icloudfs simulator``: a local iCloud, to try things with and to test against."""

from __future__ import annotations

import functools
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import trio

from icloudfs.simulator import Account, Address, LibraryPlan, serve


@click.command("simulator")
@click.option("--port", default=0, show_default="any free one", help="Of the plain door.")
@click.option("--proxy-port", type=int, help="Also a TLS door, for HTTPS_PROXY.")
@click.option(
    "--ca-file", type=click.Path(path_type=Path), help="Write the TLS door's authority there."
)
@click.option("--assets", default=300, show_default=True, help="Size of the generated library.")
@click.option("--seed", default=1, show_default=True, help="Another number, another library.")
@click.option("--latency", default=0.0, metavar="SECONDS", help="Added to every answer.")
def command(
    port: int, proxy_port: int | None, ca_file: Path | None, assets: int, seed: int, latency: float
) -> None:
    """Run a local iCloud with a generated library until Ctrl-C.

    Sign in as alice@example.com; the first line printed is the URL for --endpoint.
    """
    plan = LibraryPlan(assets=assets, seed=seed)
    account = Account()

    def ready(address: Address) -> None:
        click.echo(address.url)
        if address.proxy_port is not None:
            click.echo(address.proxy_url)

    run = functools.partial(serve, port, plan, account, latency, ready, proxy_port, ca_file)
    trio.run(_until_told, run)


async def _until_told(run: Callable[[], Awaitable[None]]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await anext(signals)
            nursery.cancel_scope.cancel()
