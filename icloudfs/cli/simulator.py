"""``icloudfs simulator``: a local iCloud, to try things with and to test against."""

from __future__ import annotations

import functools
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import click
import trio

from icloudfs.cli.kinds import kind_option, listed_kinds
from icloudfs.errors import ConfigError, one_error
from icloudfs.simulator import KINDS, Address, LibraryPlan, serve


@click.command("simulator", epilog=listed_kinds())
@click.option("--port", "--http", default=0, show_default="any free one", help="Of the plain door.")
@click.option("--proxy-port", "--proxy", type=int, help="Also a TLS door, for HTTPS_PROXY.")
@click.option(
    "--ca-file",
    "--ca",
    type=click.Path(path_type=Path),
    help="Write the TLS door's authority there.",
)
@click.option("--assets", default=300, show_default=True, help="Size of the generated library.")
@click.option("--seed", default=1, show_default=True, help="Another number, another library.")
@click.option("--latency", default=0.0, metavar="MS", help="Milliseconds added to every answer.")
@kind_option
@click.option(
    "--indexing",
    type=float,
    metavar="SECONDS",
    help="Apple is still indexing the library: for so long lists hold a third of it.",
)
@click.option(
    "--two-factor/--no-two-factor", default=True, help="Whether signing in takes a code as well."
)
def command(
    port: int,
    proxy_port: int | None,
    ca_file: Path | None,
    assets: int,
    seed: int,
    latency: float,
    kind: str,
    indexing: float | None,
    two_factor: bool,
) -> None:
    """Run a local iCloud with a generated library until Ctrl-C.

    Prints the URL for --endpoint, and with --proxy-port a second line, the URL for HTTPS_PROXY. The
    account is alice@example.com, its password "correct horse battery", its code 123456.
    """
    chosen = KINDS[kind]
    plan = LibraryPlan(
        assets=assets, seed=seed, indexing=chosen.indexing if indexing is None else indexing
    )
    account = chosen.account
    if not two_factor:
        account = replace(account, two_factor="none")

    def ready(address: Address) -> None:
        click.echo(address.url)
        if address.proxy_port is not None:
            click.echo(address.proxy_url)

    run = functools.partial(serve, port, plan, account, latency / 1000, ready, proxy_port, ca_file)
    try:
        with one_error():
            trio.run(_until_told, run)
    except OSError as error:
        raise ConfigError(f"The local iCloud cannot start: {error.strerror or error}.") from error


async def _until_told(run: Callable[[], Awaitable[None]]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await anext(signals)
            nursery.cancel_scope.cancel()
