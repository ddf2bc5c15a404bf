"""A disk below that stands still keeps those waiting who want what it has, and nobody else."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.below import Below, below
from tests.scratch import ICLOUDFS, wait_until
from tests.whole.library import Library

AT_ONCE = 3.0
"""Seconds for ``ls``, ``stat`` and ``df`` together, on a machine that is busy with other tests."""

READERS = 50
"""More than one disk has threads."""


@pytest.fixture(params=["the cache", "used where it lies"])
def frozen(
    request: pytest.FixtureRequest, library: Library
) -> Iterator[tuple[Below, list[Path], list[bytes]]]:
    """A mounted library, the disk with some of its photos, those photos, and what they are."""
    home = library.mount_point.parent
    shown = library.cache if request.param == "the cache" else home / "pictures"
    with below(home / "below", shown) as disk:
        library.mount()
        photos = [path for path in library.files("Library") if path.suffix in (".JPG", ".HEIC")][:8]
        truths = [library.truth(path) for path in photos]
        if shown == library.cache:
            assert [path.read_bytes() for path in photos] == truths
        else:
            for path, truth in zip(photos, truths, strict=True):
                (shown / path.name).write_bytes(truth)
            library.icloudfs("import-existing", "-d", shown)
        library.unmount()
        library.mount()
        try:
            yield disk, photos, truths
        finally:
            disk.thaw()
            library.end()


def test_it_hangs_no_look(frozen: tuple[Below, list[Path], list[bytes]], library: Library) -> None:
    disk, photos, truths = frozen
    opened = photos[0].open("rb")
    disk.freeze()
    readers = [
        library.scratch.start("sha256sum", photos[number % len(photos)], stdout=subprocess.PIPE)
        for number in range(READERS)
    ]
    other = library.scratch.start("head", "-c", "1", photos[1], stdout=subprocess.DEVNULL)
    time.sleep(0.5)  # not needed for the test to pass: the readers are to be waiting by then

    began = time.monotonic()
    for command in (["ls", "-lR"], ["stat", "-f"], ["df"], ["find"]):
        library.scratch.run("timeout", "20", *command, library.mount_point)
    assert time.monotonic() - began < AT_ONCE
    assert all(reader.poll() is None for reader in readers)

    disk.thaw()
    for number, reader in enumerate(readers):
        read = reader.communicate(timeout=20)[0]
        assert read.split()[0] == hashlib.sha256(truths[number % len(photos)]).hexdigest()
    wait_until(lambda: other.poll() is not None)
    with opened:
        assert opened.read() == truths[0]


def test_who_reads_gets_an_error_in_the_end(
    frozen: tuple[Below, list[Path], list[bytes]], library: Library
) -> None:
    disk, photos, truths = frozen
    library.unmount()
    library.environment["ICLOUDFS_TIMEOUT"] = "2"
    library.mount()
    disk.freeze()

    done = library.scratch.run("timeout", "60", "cat", photos[0], check=False)

    assert done.returncode == 1
    assert "Input/output error" in done.stderr
    disk.thaw()
    assert photos[0].read_bytes() == truths[0]


def test_doctor_names_it(library: Library) -> None:
    with below(library.mount_point.parent / "below", library.cache) as disk:
        disk.freeze()
        done = library.scratch.run(
            *("timeout", "-s", "KILL", "60", ICLOUDFS, "doctor"),
            check=False,
            environment=library.environment,
        )
        disk.thaw()
    assert done.returncode == 16
    assert f"BAD  cache        the disk with {library.cache}" in done.stdout
