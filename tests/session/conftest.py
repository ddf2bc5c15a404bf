"""A user's session with the mount in it, for what runs there besides file managers.

These tests run by ``scripts/desktop-test session``. What they photographed and measured is printed at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.filemanagers.album import Album
from tests.filemanagers.conftest import (  # noqa: F401
    SCREENSHOTS,
    common_scratch,
    icloud,
    icloudfs,
    machine,
    many,
    person,
)
from tests.filemanagers.desktop import Desktop
from tests.filemanagers.person import Person
from tests.filemanagers.photos import Photos
from tests.measured import notes, pytest_terminal_summary  # noqa: F401
from tests.whole.local_icloud import LocalICloud

Begin = Callable[[str], Photos]


@pytest.fixture
def begin(
    machine: None,  # noqa: F811
    icloudfs: Path,  # noqa: F811
    icloud: LocalICloud,  # noqa: F811
    person: Person,  # noqa: F811
    many: Album,  # noqa: F811
) -> Iterator[Begin]:
    """Log in to an empty home of this name: a bus, a screen, and the library listed but not mounted."""
    open_here: list[Desktop] = []

    def begin(name: str) -> Photos:
        person.move_to(person.scratch.folder / f"{name}-home")
        # The home lies elsewhere (scripts/desktop-test), because Tracker passes over what is temporary.
        person.environment["TMPDIR"] = "/tmp"
        open_here.append(Desktop(person))
        photos = Photos(icloudfs, icloud, person)
        photos.icloudfs("login", "--code", icloud.account.code)
        photos.icloudfs("sync", "--mirror", "demand")
        return photos

    yield begin
    for desktop in open_here:
        desktop.close()
    person.end_processes()
