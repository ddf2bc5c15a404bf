"""All that goes on while the power is cut: readers and a phone, each in a thread."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from icloudfs.simulator import ControlClient

KIB = 1 << 10


@contextmanager
def at_work(folder: Path, url: str, seed: int) -> Iterator[None]:
    """Two who read in ``folder``, and the phone of the local iCloud at ``url``; they end with the context."""
    end = threading.Event()
    workers = [
        threading.Thread(target=_read, args=(folder, random.Random(seed), end)),
        threading.Thread(target=_read, args=(folder, random.Random(seed + 1), end)),
        threading.Thread(target=_use, args=(ControlClient(url), random.Random(seed + 2), end)),
    ]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        end.set()
        for worker in workers:
            worker.join(60)
        assert not any(worker.is_alive() for worker in workers)


def _read(folder: Path, chance: random.Random, end: threading.Event) -> None:
    """Look into photos and films, and read whole ones. What goes away meanwhile is no failure."""
    while not end.wait(0.01):
        with suppress(OSError):
            files = [path for path in (folder / "Library").rglob("*") if path.is_file()]
            for path in chance.sample(files, min(10, len(files))):
                if end.is_set():
                    return
                _read_one(path, chance)


def _read_one(path: Path, chance: random.Random) -> None:
    with path.open("rb", buffering=0) as file:
        size = path.stat().st_size
        if chance.random() < 0.5:
            file.read(64 * KIB)
        elif chance.random() < 0.5:
            file.seek(chance.randrange(max(size, 1)))
            file.read(512 * KIB)
        else:
            while file.read(256 * KIB):
                pass


def _use(control: ControlClient, chance: random.Random, end: threading.Event) -> None:
    """Take, delete, restore, edit and like photos; what cannot be done with one is left."""
    own: list[str] = []
    while not end.wait(0.3):
        if len(own) < 3 or chance.random() < 0.3:
            own.append(control.phone("add_photo", kind=chance.choice(["jpeg", "large"]))["asset"])
            continue
        deed = chance.choice(["delete", "restore", "edit", "favorite", "unfavorite"])
        with suppress(Exception):  # such as one that is restored and was never deleted
            control.phone(deed, asset=chance.choice(own))
