"""The option that chooses a kind of account for the local iCloud."""

from __future__ import annotations

import textwrap

import click

from icloudfs.simulator import KINDS, ORDINARY

kind_option = click.option(
    "--account",
    "kind",
    type=click.Choice(list(KINDS)),
    metavar="KIND",
    default=ORDINARY,
    show_default=True,
    help="The kind of account, one of those listed below.",
)


def listed_kinds() -> str:
    """Every kind of account with what is special about it, for the end of ``--help``."""
    width = max(map(len, KINDS)) + 4
    lines = [
        textwrap.fill(
            kind.says,
            width=76,
            initial_indent=f"  {name}".ljust(width),
            subsequent_indent=" " * width,
        )
        for name, kind in KINDS.items()
    ]
    return "\n".join(["\b", "Kinds of account:", *lines])
