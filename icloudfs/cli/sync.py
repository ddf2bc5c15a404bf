"""``icloudfs sync``: list the library, or what changed in it, without a mount."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from icloudfs import daemon
from icloudfs.cli.options import account_options, with_account
from icloudfs.config import Settings
from icloudfs.progress import Progress

_LINE_EVERY = 5.0
"""Seconds between two lines where there is no terminal."""


@click.command("sync")
@account_options(log_level="error")
def command(settings: Settings) -> None:
    """Bring the list of photos up to date. The first time it lists the whole library."""
    settings = with_account(settings)
    with _reporting() as report:
        figures = trio.run(daemon.sync_once, settings, report)
    click.echo(
        f"{figures.seen} photos in {figures.calls} calls"
        if figures.kind
        else f"Nothing changed ({figures.calls} calls)"
    )


class Report(Protocol):
    def __call__(self, progress: Progress) -> None: ...


@contextmanager
def _reporting() -> Iterator[Report]:
    """A bar on a terminal, now and then a line elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _OnBars(bars)


class _OnBars:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, int] = {}

    def __call__(self, progress: Progress) -> None:
        if progress.what not in self._tasks:
            self._tasks[progress.what] = self._bars.add_task(progress.what, total=progress.total)
        self._bars.update(
            self._tasks[progress.what],  # type: ignore[arg-type]
            completed=progress.done,
            total=progress.total,
        )


class _Lines:
    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self._said >= _LINE_EVERY:
            self._said = time.monotonic()
            of = f" of {progress.total}" if progress.total is not None else ""
            click.echo(f"{progress.what}: {progress.done}{of}", err=True)
