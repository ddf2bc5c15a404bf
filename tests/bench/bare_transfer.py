"""The yardstick for cold reads, one look-up and one transfer and nothing else; and the floor below it.

``python -m tests.bench.bare_transfer MASTER [--last BYTES] [--keep FILE [--check]]`` looks a photo up in the
session that the environment names, as icloudfs would, and has curl fetch its original, or the end of it,
through the same door. Printed as JSON, in seconds from the look-up on: to the first byte, and to the last.
Connections stand before the clock runs, as they do in a daemon that has been at work.

The floor is what nobody gets below who does more than curl has to: to the first byte as icloudfs's own client
gets it, without a mount, and to the last byte if curl keeps them all in ``FILE``; with ``--check`` until
OpenSSL has both digests that icloudfs takes, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import trio

from icloudfs.apple import ICloud
from icloudfs.apple.records import Master, Zone
from icloudfs.apple.wire import PRIMARY_ZONE
from icloudfs.config import load
from icloudfs.connection import connected

_TIMES = "%{time_pretransfer} %{time_starttransfer} %{time_total}"
"""What curl tells: connected with TLS and all; the first byte; the last."""

_BEGINNING = 64 << 10
"""Bytes that a program reads first."""


class Looked(NamedTuple):
    """What a look-up gave, and how long it took; times in seconds."""

    url: str
    took: float
    first: float
    """From a request on until our own client has the first bytes of the original."""


async def look_up(master: str) -> Looked:
    """Ask for the URL of an original, and for its beginning."""
    zone = Zone("private", PRIMARY_ZONE)
    async with connected(load({})) as icloud:
        await icloud.photos.lookup(zone, [master])
        began = time.monotonic()
        (record,) = await icloud.photos.lookup(zone, [master])
        took = time.monotonic() - began
        assert isinstance(record, Master)
        url = record.resources["resOriginal"].url
        await _first_bytes(icloud, url)  # the connection stands then
        first = await _first_bytes(icloud, url)
    return Looked(url.replace("${f}", "original"), took, first)


async def _first_bytes(icloud: ICloud, url: str) -> float:
    began = time.monotonic()
    async with icloud.download(url, 0, _BEGINNING) as content:
        arriving = content.chunks()
        await anext(arriving)
        seconds = time.monotonic() - began
        async for _ in arriving:
            pass
    return seconds


def transfer(url: str, last: int | None, keep: Path = Path(os.devnull)) -> tuple[float, float]:
    """Seconds to the first byte of the original, or of its end, and to the last."""
    part = ["--range", f"-{last}"] if last else []
    authority = ["--cacert", os.environ["SSL_CERT_FILE"]]
    told = subprocess.run(
        ["curl", "-sS", "--fail", *authority, *part, "-o", str(keep), "-w", _TIMES, url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    connected_at, first, everything = map(float, told.split())
    return first - connected_at, everything - connected_at


_KEEP_AND_CHECK = """
curl -sS --fail --cacert "$SSL_CERT_FILE" -w '%{stderr}%{time_pretransfer}' "$1" |
  tee "$2" >(openssl dgst -sha1 >/dev/null) | openssl dgst -sha256 >/dev/null
"""


def keep_and_check(url: str, file: Path) -> float:
    """Seconds until the original is in ``file`` and its digests are known."""
    began = time.monotonic()
    told = subprocess.run(
        ["bash", "-c", _KEEP_AND_CHECK, "bash", url, str(file)],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    return time.monotonic() - began - float(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("master")
    parser.add_argument("--last", type=int)
    parser.add_argument("--keep", metavar="FILE", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    looked = trio.run(look_up, options.master)
    # Once to no purpose: a simulator makes a content when it is first asked for, Apple has it.
    transfer(looked.url, last=1)
    first, everything = transfer(looked.url, options.last)
    times = {"first_s": looked.took + first, "last_s": looked.took + everything}
    if options.keep:
        if options.check:
            kept = keep_and_check(looked.url, options.keep)
        else:
            _, kept = transfer(looked.url, options.last, options.keep)
        times |= {"floor_first_s": looked.took + looked.first, "floor_last_s": looked.took + kept}
        options.keep.unlink()
    print(json.dumps(times))


if __name__ == "__main__":
    main()
