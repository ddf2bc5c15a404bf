"""Without a network: everything lists, what is cached opens, the rest fails at once."""

from __future__ import annotations

import errno
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scratch import Scratch, wait_until
from tests.whole.library import Library
from tests.whole.local_icloud import LocalICloud

AT_ONCE = 2.0
"""Seconds within which a read fails that cannot succeed."""


@pytest.fixture
def own_icloud(scratch: Scratch) -> Iterator[LocalICloud]:
    """One that may be stopped. After a new start it knows no session, so no code may be needed."""
    icloud = LocalICloud(scratch, "--no-two-factor", assets=30)
    yield icloud
    icloud.stop()


@pytest.fixture
def home(own_icloud: LocalICloud, scratch: Scratch) -> Iterator[Library]:
    library = Library(own_icloud, scratch)
    library.login()
    library.sync()
    yield library
    library.end()


def listing(library: Library) -> str:
    """Every name with its attributes, without what the kernel remembers of earlier listings."""
    format = "%P %y %m %s %T@ %i %n\\n"
    return subprocess.run(
        ["find", str(library.mount_point), "-printf", format],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def failing_read(path: Path) -> tuple[int | None, float]:
    """errno and seconds."""
    began = time.monotonic()
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno, time.monotonic() - began
    return None, time.monotonic() - began


def photos(library: Library) -> list[Path]:
    return [path for path in library.files("Library") if path.suffix in (".HEIC", ".JPG")]


def test_icloud_stopped_and_back_again(home: Library, own_icloud: LocalICloud) -> None:
    home.mount()
    cached, *others = photos(home)
    content = cached.read_bytes()
    before = listing(home)

    own_icloud.stop()

    assert listing(home) == before
    assert cached.read_bytes() == content
    took = []
    for path in others[:4]:
        code, seconds = failing_read(path)
        assert code == errno.ENETUNREACH
        took.append(seconds)
    print(f"\nreads failed after {', '.join(f'{seconds:.2f}' for seconds in took)} s")
    assert max(took) < AT_ONCE

    own_icloud.start()
    deadline = time.monotonic() + 10
    while (code := failing_read(others[0])[0]) is not None and time.monotonic() < deadline:
        assert code == errno.ENETUNREACH
    assert [path.read_bytes() == home.truth(path) for path in others[:4]] == [True] * 4


def test_icloud_does_not_answer_any_more(home: Library, own_icloud: LocalICloud) -> None:
    """Connections are taken and nothing comes: the first read needs its deadline to find out."""
    deadline = 3.0
    home.mount("--timeout", str(deadline))
    cached, *others = photos(home)
    content = cached.read_bytes()

    own_icloud.freeze()
    try:
        assert cached.read_bytes() == content
        first, *later = [failing_read(path) for path in others[:4]]
        print(f"\nfailed after {first[1]:.2f} s, then {', '.join(f'{s:.2f}' for _, s in later)} s")
        assert first[0] == errno.ENETUNREACH and first[1] < deadline + 1
        assert {code for code, _ in later} == {errno.ENETUNREACH}
        assert max(seconds for _, seconds in later) < AT_ONCE
    finally:
        own_icloud.thaw()

    until = time.monotonic() + 10
    while failing_read(others[0])[0] is not None and time.monotonic() < until:
        pass
    assert others[0].read_bytes() == home.truth(others[0])


def test_a_known_library_is_mounted_without_a_network(
    home: Library, own_icloud: LocalICloud
) -> None:
    home.mount()
    cached, other = photos(home)[:2]
    content, before = cached.read_bytes(), listing(home)
    home.unmount()
    own_icloud.stop()

    home.mount()

    assert listing(home) == before
    assert cached.read_bytes() == content
    code, seconds = failing_read(other)
    assert code == errno.ENETUNREACH and seconds < AT_ONCE
    home.unmount()
    own_icloud.start()


def test_a_library_is_mounted_after_logout(library: Library) -> None:
    library.mount()
    cached, other = photos(library)[:2]
    content, before = cached.read_bytes(), listing(library)
    library.unmount()
    library.icloudfs("logout")
    del library.environment["ICLOUDFS_PASSWORD"]

    library.mount()

    assert not library.status()["signed_in"]
    assert listing(library) == before
    assert cached.read_bytes() == content
    code, seconds = failing_read(other)
    assert code == errno.ENOKEY and seconds < AT_ONCE


def test_signing_in_again_needs_no_new_mount(library: Library) -> None:
    library.mount()
    photo = photos(library)[0]
    password = library.environment.pop("ICLOUDFS_PASSWORD")
    library.icloudfs("logout")
    library.unmount()
    library.mount()
    assert failing_read(photo)[0] == errno.ENOKEY

    library.environment["ICLOUDFS_PASSWORD"] = password
    library.login()

    assert photo.read_bytes() == library.truth(photo)


def test_who_sits_there_is_told_once_that_the_session_ran_out(library: Library) -> None:
    """On a desktop: a program that shows notices, and a session with a bus."""
    folder = library.scratch.folder
    shown, program = folder / "shown", folder / "notify-send"
    program.write_text(f'#!/bin/sh\necho "$@" >> {shown}\n')
    program.chmod(0o755)
    path = f"{folder}:{library.scratch.environment['PATH']}"
    library.environment |= {"PATH": path, "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"}
    library.environment.pop("ICLOUDFS_PASSWORD")
    library.mount("--interval", "0.5")

    library.icloudfs("logout")
    wait_until(shown.exists, 20)
    time.sleep(2)

    (line,) = shown.read_text().splitlines()
    assert "sign in again" in line and "icloudfs login" in line
