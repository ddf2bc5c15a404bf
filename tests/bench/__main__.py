"""``python -m tests.bench``: one library from the simulator, or databases of several sizes side by side."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tests.bench import growth, listing, report


def main() -> None:
    options = _parser().parse_args()
    figures: Any
    if options.generated:
        figures = growth.measure(options.generated, options.latency, options.rounds or 10)
        print(report.table(figures))
    else:
        figures = listing.measure(options.assets, options.latency, options.rounds or 5)
        print(report.page(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


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
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds a call")
    parser.add_argument("--rounds", type=int, help="of each measurement (5, or 10 if generated)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    return parser


if __name__ == "__main__":
    main()
