"""Showing how far something is: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from icloudfs.progress import Progress, Report

_LINE_EVERY = 5.0
"""Seconds between two lines where there is no terminal."""


def size(count: float) -> str:
    """Bytes the way ``ls -h`` and ``df -h`` print them."""
    for unit in ("B", "K", "M", "G", "T"):
        if count < 1024 or unit == "T":
            break
        count /= 1024
    return f"{count:.0f}{unit}" if unit == "B" or count >= 10 else f"{count:.1f}{unit}"


@contextmanager
def reporting() -> Iterator[Report]:
    """Something to tell progress to, for as long as a command works."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), _Amount(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _OnBars(bars)


class _Amount(ProgressColumn):
    """How much of how much: of things, or of bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._items, self._bytes = MofNCompleteColumn(), DownloadColumn(binary_units=True)

    def render(self, task: Task) -> Text:
        column = self._bytes if task.fields["unit"] == "bytes" else self._items
        return column.render(task)


class _OnBars:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, progress: Progress) -> None:
        if progress.what not in self._tasks:
            self._tasks[progress.what] = self._bars.add_task(
                progress.what, total=progress.total, unit=progress.unit
            )
        self._bars.update(self._tasks[progress.what], completed=progress.done, total=progress.total)


class _Lines:
    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self._said >= _LINE_EVERY:
            self._said = time.monotonic()
            shown = size if progress.unit == "bytes" else str
            of = f" of {shown(progress.total)}" if progress.total is not None else ""
            click.echo(f"{progress.what}: {shown(progress.done)}{of}", err=True)
