"""The client with Apple's own host names, through the simulator's TLS door.

The cookies carry Apple's domains and ``Secure`` here, the certificates are verified, and database and
contents live at hosts that only the answers name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from icloudfs.apple import (
    CHINA,
    DOWNLOAD_KEYS,
    GLOBAL,
    ICloud,
    Index,
    Master,
    SessionStore,
    checksum,
)
from icloudfs.errors import WrongRegion
from icloudfs.simulator import LibraryPlan, Simulator
from tests.apple.conftest import ACCOUNT, Codes


@pytest.fixture(autouse=True)
def certificates_loaded_once() -> None:
    """Here they are loaded from the file that SSL_CERT_FILE names."""


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SessionStore]:
    sim = Simulator(LibraryPlan(assets=2, oddities=False, shared="none"), ACCOUNT)
    sim.faults.switch(content_needs_cookies=False)
    certificate = tmp_path / "ca.pem"
    async with sim.running(proxy_port=0, ca_file=certificate) as address:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        monkeypatch.setenv("HTTPS_PROXY", address.proxy_url)
        monkeypatch.setenv("NO_PROXY", "")
        yield SessionStore(tmp_path, ACCOUNT.apple_id)


async def test_from_the_password_to_the_picture(store: SessionStore) -> None:
    async with ICloud(store, GLOBAL, ACCOUNT.apple_id) as icloud:
        await icloud.login(ACCOUNT.password, Codes())
        (zone,) = await icloud.photos.zones("private")
        page = await icloud.photos.list_page(zone, Index.ALL, 0)
        (name, *_) = [record.name for record in page.records if isinstance(record, Master)]
        (master,) = await icloud.photos.lookup(zone, [name], DOWNLOAD_KEYS)
        assert isinstance(master, Master)
        original = master.resources["resOriginal"]
        assert original.url.startswith("https://cvws.icloud-content.com/B/")
        async with icloud.download(original.url, size=original.size) as content:
            assert checksum.of(b"".join([c async for c in content.chunks()])) == original.checksum
    session = store.session
    assert session.database == "https://p61-ckdatabasews.icloud.com:443"
    domains = {cookie.domain for cookie in session.cookies.stored() if cookie.secure}
    assert domains == {".icloud.com", ".apple.com"}
    assert "WEBAUTH-TOKEN" in session.cookies.header_for(session.database)
    assert session.cookies.header_for("https://cvws.icloud-content.com/") == ""


async def test_an_account_of_the_other_region(store: SessionStore) -> None:
    async with ICloud(store, CHINA, ACCOUNT.apple_id) as icloud:
        with pytest.raises(WrongRegion, match=r"iCloud\.com"):
            await icloud.login(ACCOUNT.password, Codes())
