"""The iCloud of a race: a generated library, with albums of what the works need beside it.

    python -m tests.bench.racecourse --assets N --each N --ca-file FILE

It is the simulator in a process of its own, with its TLS door: all contenders come through that one, as
rclone knows no other. Printed are the URL of the plain door, for control, and that for HTTPS_PROXY.
"""

from __future__ import annotations

import argparse
import functools
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import trio
from msgspec.structs import replace

from icloudfs.apple.checksum import new_digest
from icloudfs.simulator import Account, ControlClient, LibraryPlan, Simulator
from icloudfs.simulator.blobs import Blob, Storehouse
from icloudfs.simulator.camera import Camera, Kind, Moment, Shot
from icloudfs.simulator.phone import Phone
from tests.bench.stand import PATIENCE, wait_for

MB = 1_000_000
PHOTO_BYTES = 4 * MB
VIDEO_BYTES = 400 * MB
LONG_BYTES = 1000 * MB

ALBUM = "Race"
LONG = "LONG.MOV"
FIVE_ALBUMS = ("One", "Two", "Three", "Four", "Five")
SHARED = "SHARED.JPG"

_END = struct.Struct(">Q")
"""What tells one movie from another."""

_LEAVES = 5

_QUIET = 1.0
"""Seconds without a call after which nobody is thought to be at work any more."""


def photo(number: int) -> str:
    """A photo of 4 MB that nobody has read yet."""
    return f"PHOTO_{number:02}.JPG"


def copied_photo(number: int) -> str:
    """Another one."""
    return f"COPIED_{number:02}.JPG"


def leaves(number: int) -> str:
    """The title of an album with five more that nobody has read yet."""
    return f"Leaves {number:02}"


def video(number: int) -> str:
    """A video of 400 MB that nobody has read yet."""
    return f"VIDEO_{number:02}.MOV"


def tail(number: int) -> str:
    """One more, of which only the end is read."""
    return f"TAIL_{number:02}.MOV"


class Racecourse:
    """A running one, from outside."""

    def __init__(self, url: str, proxy_url: str, authority: Path) -> None:
        self.url = url
        self.authority = authority
        self.proxy_url = proxy_url
        self.control = ControlClient(url)
        self._masters: dict[str, str] = {}

    @property
    def door(self) -> dict[str, str]:
        """The environment in which Apple's names lead here."""
        return {"HTTPS_PROXY": self.proxy_url, "SSL_CERT_FILE": str(self.authority)}

    def set_distance(self, latency: float, line: float = 0.0) -> None:
        """From now on every answer takes so many milliseconds longer, and contents come with so many MB/s."""
        self.control.clear_faults()
        if latency:
            self.control.set_fault("*", "delay", seconds=latency / 1000)
        if line:
            self.control.set_fault("content", "throttle", bytes_per_second=line * MB)

    def master_of(self, filename: str) -> str:
        """The record name of a file's CPLMaster."""
        if not self._masters:
            self._masters = {
                entry["filename"]: entry["master"] for entry in self.control.manifest()
            }
        return self._masters[filename]

    def begin_counting(self) -> None:
        self.control.reset_traffic()

    def traffic(self) -> dict[str, Any]:
        return self.control.traffic(log=False)

    def settle(self) -> None:
        """Wait until nobody has called for a while: what goes on in the background would be measured."""
        before, since = -1, time.monotonic()

        def quiet() -> bool | None:
            nonlocal before, since
            total = self.traffic()["total"]
            if total != before:
                before, since = total, time.monotonic()
            return True if time.monotonic() - since > _QUIET else None

        wait_for(quiet, "the contenders to come to rest", 0.1)


@contextmanager
def racecourse(home: Path, assets: int, each: int) -> Iterator[Racecourse]:
    """One with a library of that size, and ``each`` of the photos and videos that can be read once."""
    authority = home / "authority.pem"
    options = ["--assets", str(assets), "--each", str(each), "--ca-file", str(authority)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.racecourse", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        url, proxy_url = (process.stdout.readline().strip() for _ in range(2))
        yield Racecourse(url, proxy_url, authority)
    finally:
        process.terminate()
        process.wait(PATIENCE)


# -- inside ----------------------------------------------------------------------------------------


class _LongTakes(Camera):
    """A camera whose movies are as long as it is told: the product's simulator makes none over 40 MB."""

    def __init__(self, storehouse: Storehouse) -> None:
        super().__init__(storehouse, seed=0, drawn=False)
        self._storehouse_too = storehouse
        self.bytes = 0
        """Size of the next original; 0 leaves it as it is."""

    def shoot(self, kind: Kind, number: int, label: str, moment: Moment) -> Shot:
        shot = super().shoot(kind, number, label, moment)
        if not self.bytes:
            return shot
        blob = self._storehouse_too.add(_footage(self.bytes).blob(number))
        original, *others = shot.resources
        return replace(shot, resources=(replace(original, blob=blob), *others))


class _Footage:
    """Movies of one size, alike but for their ends. They share one copy in memory: to hand out another one
    takes no time, which a server that has its contents on disk does not need either."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._file = os.memfd_create("footage")
        self._hashed = new_digest()
        block = random.Random(size).randbytes(1 << 20)
        for at in range(0, size - _END.size, len(block)):
            piece = block[: size - _END.size - at]
            os.pwrite(self._file, piece, at)
            self._hashed.update(piece)

    def blob(self, number: int) -> Blob:
        end = _END.pack(number)
        digest = self._hashed.copy()
        digest.update(end)
        return Blob(digest.digest(), self._size, self, end)

    def content(self, tail: bytes) -> bytes:
        os.ftruncate(self._file, self._size)
        prot = mmap.PROT_READ | mmap.PROT_WRITE
        own = mmap.mmap(self._file, self._size, flags=mmap.MAP_PRIVATE, prot=prot)
        own[-_END.size :] = tail
        return cast("bytes", memoryview(own))  # it is only cut and sent


_footage = functools.cache(_Footage)


def _lay_out(simulator: Simulator, each: int) -> None:
    """Put up the albums of the race."""
    camera = _LongTakes(simulator.cloud.storehouse)
    phone = Phone(simulator.cloud, camera, seed=2)
    race = phone.create_album(ALBUM)

    def shoot(filename: str, size: int, albums: list[str]) -> None:
        camera.bytes = size
        kind: Kind = "video" if filename.endswith(".MOV") else "jpeg"
        phone.add_photo(kind, filename, albums=albums)

    for number in range(each):
        album = phone.create_album(leaves(number))
        for leaf in range(_LEAVES):
            shoot(f"LEAF_{number:02}_{leaf}.JPG", PHOTO_BYTES, [album])
        shoot(photo(number), PHOTO_BYTES, [race])
        shoot(copied_photo(number), PHOTO_BYTES, [race])
        shoot(video(number), VIDEO_BYTES, [race])
        shoot(tail(number), VIDEO_BYTES, [race])
    if each:
        shoot(LONG, LONG_BYTES, [race])
    shoot(SHARED, PHOTO_BYTES, [phone.create_album(title) for title in FIVE_ALBUMS])


async def _run(assets: int, each: int, authority: Path) -> None:
    # rclone cannot be given the code of a second factor without a person at its prompt.
    simulator = Simulator(LibraryPlan(assets=assets), Account(two_factor="none"))
    _lay_out(simulator, each)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with simulator.running(proxy_port=0, ca_file=authority) as address:
            print(address.url, address.proxy_url, sep="\n", flush=True)
            await anext(signals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=int, required=True)
    parser.add_argument("--each", type=int, required=True)
    parser.add_argument("--ca-file", type=Path, required=True)
    options = parser.parse_args()
    trio.run(_run, options.assets, options.each, options.ca_file)


if __name__ == "__main__":
    main()
