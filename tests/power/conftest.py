"""The local iCloud of tests/whole, and a disk that the account's state and cache are on.

They run by ``scripts/power-test``, which installs the tools.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.image_disk import Kind
from tests.power.disk import Disk, shared_blocks
from tests.scratch import Scratch, scratch_folder
from tests.whole.conftest import _fuse  # noqa: F401
from tests.whole.local_icloud import LocalICloud

CUTS = int(os.environ.get("ICLOUDFS_POWER_CUTS", "5"))


@pytest.fixture
def scratch() -> Iterator[Scratch]:
    with scratch_folder() as scratch:
        yield scratch


@pytest.fixture
def icloud(scratch: Scratch) -> Iterator[LocalICloud]:
    icloud = LocalICloud(scratch)
    yield icloud
    icloud.stop()


@pytest.fixture(params=["ext4", "btrfs"])
def disk(request: pytest.FixtureRequest, scratch: Scratch) -> Iterator[Disk]:
    kind: Kind = request.param
    folder = scratch.folder
    with shared_blocks(folder / "host.img", folder / "host") as host:
        yield Disk(host, folder / "home", kind)
