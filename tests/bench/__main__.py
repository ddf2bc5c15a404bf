"""``python -m tests.bench``: one library, databases of several sizes side by side, or a race."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tests.bench import growth, listing, race, report
from tests.fusectl import control_filesystem

_FAR = 80.0
"""Milliseconds a call that a race adds, where it adds any: what Apple takes from a line at home."""
_LINE = 50.0
"""MB/s: 400 Mbit/s."""


def main() -> None:
    options = _parser().parse_args()
    with control_filesystem():
        figures = _measured(options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def _measured(options: argparse.Namespace) -> Any:
    """Print what was asked for."""
    figures: Any
    if options.race:
        latency = _FAR if options.latency is None else options.latency
        figures = race.run(options.assets, latency, options.line, options.rounds or 5, options.only)
        print(report.race_table(figures))
    elif options.generated:
        figures = growth.measure(options.generated, options.latency or 0.0, options.rounds or 10)
        print(report.table(figures))
    else:
        figures = listing.measure(options.assets, options.latency or 0.0, options.rounds or 5)
        print(report.page(figures))
    return figures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--assets", type=int, default=20_000, help="size of the library")
    parser.add_argument(
        "--generated",
        type=int,
        action="append",
        metavar="PHOTOS",
        help="what a daemon costs beside a generated database of that size; may be given several times",
    )
    parser.add_argument("--latency", type=float, help="milliseconds a call (0; 80 in a race)")
    parser.add_argument("--line", type=float, default=_LINE, help="MB/s of contents, in a race")
    parser.add_argument("--race", action="store_true", help="beside rclone mount, work by work")
    parser.add_argument(
        "--only",
        action="append",
        choices=race.names(),
        default=[],
        help="of a race: this work alone; may be given several times",
    )
    parser.add_argument("--rounds", type=int, help="of each measurement (5, or 10 if generated)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    return parser


if __name__ == "__main__":
    main()
