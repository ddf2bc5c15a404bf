"""Apple's real host names, through an HTTPS proxy that is the whole of Apple."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scratch import Scratch
from tests.whole.library import Library
from tests.whole.local_icloud import LocalICloud


@pytest.fixture
def authority(scratch: Scratch) -> Path:
    return scratch.folder / "authority.pem"


@pytest.fixture
def behind_proxy(scratch: Scratch, authority: Path) -> Iterator[Library]:
    """An account at Apple, as far as icloudfs can tell: no --endpoint."""
    options = ("--proxy-port", "0", "--ca-file", str(authority))
    icloud = LocalICloud(scratch, *options, assets=20)
    library = Library(icloud, scratch)
    del library.environment["ICLOUDFS_ENDPOINT"]
    library.environment["HTTPS_PROXY"] = icloud.proxy_url
    yield library
    library.end()
    icloud.stop()


def test_everything_through_the_proxy(behind_proxy: Library, authority: Path) -> None:
    behind_proxy.environment["SSL_CERT_FILE"] = str(authority)

    behind_proxy.login()
    behind_proxy.sync()
    behind_proxy.mount()

    assert behind_proxy.status()["assets"]["total"] == len(behind_proxy.icloud.manifest())
    photo = next(behind_proxy.files("Library"))
    assert photo.read_bytes() == behind_proxy.truth(photo)
    session = next(behind_proxy.state.glob("*.session")).read_text()
    assert "icloud.com" in session and "127.0.0.1" not in session


def test_an_authority_that_nobody_vouches_for(behind_proxy: Library) -> None:
    refused = behind_proxy.icloudfs("login", "--code", "123456", check=False)

    assert refused.returncode == 5
    assert refused.stderr.splitlines() == [
        "icloudfs: The certificate of idmsa.apple.com could not be verified.",
        "  If your network inspects TLS, set SSL_CERT_FILE to its certificate.",
    ]
    assert behind_proxy.icloud.control.traffic()["total"] == 0


def test_a_proxy_that_is_not_there(behind_proxy: Library) -> None:
    behind_proxy.environment["HTTPS_PROXY"] = "http://127.0.0.1:9"

    refused = behind_proxy.icloudfs("login", "--code", "123456", check=False)

    assert refused.returncode == 5
    assert refused.stderr.startswith("icloudfs: There is no connection to idmsa.apple.com.\n")
