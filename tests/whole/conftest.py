"""One local iCloud and one mount for all tests that do not disturb each other; more for the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fusectl import control_filesystem
from tests.scratch import Scratch, scratch_folder
from tests.whole.library import ALL_VIEWS, INTERVAL, Library
from tests.whole.local_icloud import LocalICloud


@pytest.fixture(scope="session", autouse=True)
def _fuse() -> Iterator[None]:
    """The control filesystem, as systemd has it."""
    assert os.geteuid() == 0, "these tests use several users: run them as root"
    assert Path("/dev/fuse").exists(), "there is no /dev/fuse; in a container, pass it in"
    with control_filesystem():
        yield


@pytest.fixture(scope="session")
def common_scratch() -> Iterator[Scratch]:
    with scratch_folder() as scratch:
        yield scratch


@pytest.fixture(scope="session")
def _common_icloud(common_scratch: Scratch) -> Iterator[LocalICloud]:
    icloud = LocalICloud(common_scratch)
    yield icloud
    icloud.stop()


@pytest.fixture
def icloud(_common_icloud: LocalICloud) -> Iterator[LocalICloud]:
    """The common local iCloud: never stopped, its faults lifted before and after each test."""
    _common_icloud.control.clear_faults()
    _common_icloud.control.reset_traffic()
    yield _common_icloud
    _common_icloud.control.clear_faults()


@pytest.fixture(scope="session")
def signed_in(_common_icloud: LocalICloud, common_scratch: Scratch) -> Library:
    """Signed in to the common local iCloud and nothing else: its state is there to be copied."""
    library = Library(_common_icloud, common_scratch, "signed-in")
    library.login()
    return library


@pytest.fixture(scope="session")
def listed(_common_icloud: LocalICloud, common_scratch: Scratch, signed_in: Library) -> Library:
    """Signed in and listed, never mounted: its state is there to be copied."""
    library = Library(_common_icloud, common_scratch, "listed")
    library.take_state_of(signed_in)
    library.sync()
    return library


@pytest.fixture(scope="session")
def _common_mount(
    _common_icloud: LocalICloud, common_scratch: Scratch, listed: Library
) -> Iterator[Library]:
    library = Library(_common_icloud, common_scratch, "common")
    library.take_state_of(listed)
    library.mount()
    yield library
    library.unmount()


@pytest.fixture
def mounted(icloud: LocalICloud, _common_mount: Library) -> Library:
    """The common mount with the usual views, for tests that only read; what is cached is not known."""
    return _common_mount


@pytest.fixture
def stranger(icloud: LocalICloud, scratch: Scratch) -> Iterator[Library]:
    """Nobody has signed in yet. Unmounted after the test if need be."""
    library = Library(icloud, scratch)
    yield library
    library.end()


@pytest.fixture
def library(stranger: Library, listed: Library) -> Library:
    """An account of this test's own: signed in and listed, not mounted, nothing cached."""
    stranger.take_state_of(listed)
    return stranger


@pytest.fixture(scope="module")
def following() -> Iterator[Library]:
    """A library of its own, complete, mounted with every view, that looks at iCloud each second."""
    with scratch_folder() as scratch:
        icloud = LocalICloud(scratch, assets=40)
        library = Library(icloud, scratch)
        library.login()
        library.sync()
        library.mount("--interval", str(INTERVAL), views=ALL_VIEWS)
        yield library
        library.unmount()
        assert "Traceback" not in library.log.read_text()
        icloud.stop()


@pytest.fixture
def phone(following: Library) -> Callable[..., Any]:
    """What is done on the phone of the library that ``following`` mounts."""
    return following.icloud.control.phone
