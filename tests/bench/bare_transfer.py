"""The yardstick for cold reads: one look-up and one transfer, and nothing else.

``python -m tests.bench.bare_transfer MASTER [--last BYTES]`` looks a photo up in the session that the
environment names, as icloudfs would, and has curl fetch its original, or the end of it, through the same
door. Printed as JSON, in seconds from the look-up on: to the first byte, and to the last. Connections
stand before the clock runs, as they do in a daemon that has been at work.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time

import trio

from icloudfs.apple.records import Master, Zone
from icloudfs.apple.wire import PRIMARY_ZONE
from icloudfs.config import load
from icloudfs.connection import connected

_TIMES = "%{time_pretransfer} %{time_starttransfer} %{time_total}"
"""What curl tells: connected with TLS and all; the first byte; the last."""


async def look_up(master: str) -> tuple[str, float]:
    """The URL of an original, and the seconds that a look-up takes."""
    zone = Zone("private", PRIMARY_ZONE)
    async with connected(load({})) as icloud:
        await icloud.photos.lookup(zone, [master])
        began = time.monotonic()
        (record,) = await icloud.photos.lookup(zone, [master])
        seconds = time.monotonic() - began
    assert isinstance(record, Master)
    return record.resources["resOriginal"].url.replace("${f}", "original"), seconds


def transfer(url: str, last: int | None) -> tuple[float, float]:
    """Seconds to the first byte of the original, or of its end, and to the last."""
    part = ["--range", f"-{last}"] if last else []
    authority = ["--cacert", os.environ["SSL_CERT_FILE"]]
    told = subprocess.run(
        ["curl", "-sS", "--fail", *authority, *part, "-o", "/dev/null", "-w", _TIMES, url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    connected_at, first, everything = map(float, told.split())
    return first - connected_at, everything - connected_at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("master")
    parser.add_argument("--last", type=int)
    options = parser.parse_args()
    url, looked_up = trio.run(look_up, options.master)
    # Once to no purpose: a simulator makes a content when it is first asked for, Apple has it.
    transfer(url, last=1)
    first, everything = transfer(url, options.last)
    print(json.dumps({"first_s": looked_up + first, "last_s": looked_up + everything}))


if __name__ == "__main__":
    main()
