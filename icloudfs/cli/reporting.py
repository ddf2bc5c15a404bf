"""Showing how far something is: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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

from icloudfs.progress import Note, Progress, Report
from icloudfs.units import size

_LINE_EVERY = 5.0
"""Seconds between two lines where there is no terminal."""


@contextmanager
def reporting() -> Iterator[Report]:
    """Something to tell progress to, for as long as a command works."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), _Amount(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _OnBars(bars)


def tell_failures(done: dict[str, Any]) -> None:
    """The files of a prefetch's result that could not be had, with the reasons; the first few of many."""
    for failure in done["failed_first"]:
        click.echo(f"  {failure}", err=True)
    if (more := done["failed_count"] - len(done["failed_first"])) > 0:
        click.echo(f"  and {more} more", err=True)


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

    def __call__(self, told: Progress | Note) -> None:
        match told:
            case Note(text):
                self._bars.console.print(text, highlight=False, soft_wrap=True)
            case Progress():
                self._step(told)

    def _step(self, progress: Progress) -> None:
        if progress.what not in self._tasks:
            self._tasks[progress.what] = self._bars.add_task(
                progress.what, total=progress.total, unit=progress.unit
            )
        self._bars.update(self._tasks[progress.what], completed=progress.done, total=progress.total)


class _Lines:
    def __init__(self) -> None:
        self._said = time.monotonic()
        self._line = ""

    def __call__(self, told: Progress | Note) -> None:
        match told:
            case Note(text):
                click.echo(text, err=True)
            case Progress():
                self._step(told)

    def _step(self, progress: Progress) -> None:
        if time.monotonic() - self._said >= _LINE_EVERY:
            self._said = time.monotonic()
            shown = size if progress.unit == "bytes" else str
            of = f" of {shown(progress.total)}" if progress.total is not None else ""
            line = f"{progress.what}: {shown(progress.done)}{of}"
            if line != self._line:
                click.echo(line, err=True)
            self._line = line
