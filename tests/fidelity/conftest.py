"""One local iCloud behind its TLS door, one mount of it, and the programs that are to agree with it.

The tests of this directory run by ``scripts/fidelity``, which installs those programs. They share one
local iCloud and one mount. What a test changes on the phone stays changed, so each of them compares
with what the mount shows at that moment: ``library.sync()`` brings it up to date.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fidelity.mounted import Mounted
from tests.fusectl import control_filesystem
from tests.scratch import Scratch, scratch_folder
from tests.whole.library import ALL_VIEWS, Library
from tests.whole.local_icloud import LocalICloud

PROGRAMS = ("rclone", "icloudpd", "icloud")
"""The commands that the clients' directory must have; ``icloud`` is that of pyicloud."""


@pytest.fixture(scope="session", autouse=True)
def _fuse() -> Iterator[None]:
    with control_filesystem():
        yield


@pytest.fixture(scope="session")
def clients() -> Path:
    """The virtual environment that ``scripts/fidelity`` made, with the programs in ``bin``."""
    given = os.environ.get("ICLOUDFS_CLIENTS", "")
    assert given, "ICLOUDFS_CLIENTS is not set: these tests are run by scripts/fidelity"
    directory = Path(given).absolute()
    missing = [name for name in PROGRAMS if not (directory / "bin" / name).is_file()]
    assert not missing, f"{directory} has no {', '.join(missing)}: run scripts/fidelity"
    return directory


@pytest.fixture(scope="session")
def common_scratch(clients: Path) -> Iterator[Scratch]:
    """For the whole run. Without the programs nothing is started at all."""
    with scratch_folder() as scratch:
        yield scratch


@pytest.fixture(scope="session")
def authority(common_scratch: Scratch) -> Path:
    """The certificate that vouches for Apple's names at the TLS door."""
    return common_scratch.folder / "authority.pem"


@pytest.fixture(scope="session")
def _common_icloud(common_scratch: Scratch, authority: Path) -> Iterator[LocalICloud]:
    icloud = LocalICloud(common_scratch, "--proxy-port", "0", "--ca-file", str(authority))
    # rclone gives an account up whose shared library refuses one of its lists.
    icloud.control.switch(unpadded_a_too=True, shared_lists=True)
    yield icloud
    icloud.stop()


@pytest.fixture
def icloud(_common_icloud: LocalICloud) -> LocalICloud:
    """Every oddity of the generated library; signing in takes the code. Its traffic begins anew."""
    _common_icloud.control.reset_traffic()
    return _common_icloud


@pytest.fixture(scope="session")
def doors(_common_icloud: LocalICloud, authority: Path) -> dict[str, str]:
    """The environment in which Apple's names lead to the local iCloud, for a program of any make."""
    return {
        "HTTPS_PROXY": _common_icloud.proxy_url,
        "SSL_CERT_FILE": str(authority),
        "REQUESTS_CA_BUNDLE": str(authority),
    }


@pytest.fixture(scope="session")
def _common_library(_common_icloud: LocalICloud, common_scratch: Scratch) -> Iterator[Library]:
    library = Library(_common_icloud, common_scratch)
    library.login()
    library.sync()
    library.mount(views=ALL_VIEWS)
    yield library
    library.unmount()


@pytest.fixture
def library(_common_library: Library, icloud: LocalICloud) -> Library:
    """Signed in, listed, and mounted with every view; up to date when the test begins."""
    _common_library.sync()
    icloud.control.reset_traffic()
    return _common_library


@pytest.fixture
def mounted(library: Library) -> Mounted:
    """What icloudfs shows of it."""
    return Mounted(library)
