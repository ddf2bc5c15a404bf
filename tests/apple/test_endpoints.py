from __future__ import annotations

import pytest

from icloudfs.apple import endpoints
from icloudfs.apple.endpoints import CHINA, GLOBAL, Endpoints
from icloudfs.errors import ConfigError, ProtocolError, WrongRegion


@pytest.mark.parametrize(
    "url",
    [
        "https://p61-ckdatabasews.icloud.com:443",
        "https://p61-ckdatabasews.icloud.com.cn:443",
        "https://cvws.icloud-content.com/B/AAAA/${f}?o=x",
        "https://cvws.icloud-content.com.cn/B/AAAA",
        "https://idmsa.apple.com.cn/appleauth/auth",
    ],
)
def test_apples_hosts(url: str) -> None:
    assert GLOBAL.accepts(url)
    assert GLOBAL.checked(url) == url
    assert not Endpoints.at("http://127.0.0.1:8080").accepts(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://p61-ckdatabasews.icloud.com",
        "https://icloud.com.evil.example/",
        "https://eviliicloud.com/",
        "https://noticloud.com/",
        "https://user@p61.icloud.com/",
        "https://p61.icloud.com@evil.example/",
        "ftp://p61.icloud.com/",
        "file:///etc/passwd",
        "//p61.icloud.com/",
        "",
        "https://",
        "https://[bad",
        "https://xn--a.icloud-content.com/B/AAAA",
        "https://xn--zzzzzzzzz99999999.icloud.com/",
        "https://\u2028.icloud.com/",
        "https://\ud800.icloud.com/",
        "http://127.0.0.1:1/",
    ],
)
def test_everywhere_else(url: str) -> None:
    assert not GLOBAL.accepts(url)
    with pytest.raises(ProtocolError):
        GLOBAL.checked(url)


def test_an_unexpected_address_is_not_quoted_whole() -> None:
    with pytest.raises(ProtocolError) as caught:
        GLOBAL.checked("https://evil.example/?token=secret")
    assert "secret" not in str(caught.value)


def test_one_address_for_everything() -> None:
    ours = Endpoints.at("http://127.0.0.1:8080/")
    assert ours.auth == "http://127.0.0.1:8080/appleauth/auth"
    assert ours.setup == "http://127.0.0.1:8080/setup/ws/1"
    assert ours.home == "http://127.0.0.1:8080"
    assert ours.auth_origin == "http://127.0.0.1:8080"
    assert ours.accepts("http://127.0.0.1:8080/B/AAAA")
    assert not ours.accepts("https://127.0.0.1:8080/B/AAAA")
    assert not ours.accepts("http://127.0.0.2:8080/B/AAAA")


@pytest.mark.parametrize("url", ["http://example.com", "example.com", "ftp://x", "http://"])
def test_plain_http_only_to_this_machine(url: str) -> None:
    with pytest.raises(ConfigError):
        Endpoints.at(url)


def test_regions() -> None:
    assert endpoints.for_region("global") is GLOBAL
    assert endpoints.for_region("china") is CHINA
    assert CHINA.setup.endswith(".cn/setup/ws/1")
    other = endpoints.with_chinese_identity(CHINA)
    assert other.auth_origin == "https://idmsa.apple.com.cn"
    with pytest.raises(WrongRegion):
        endpoints.for_region("mars")
