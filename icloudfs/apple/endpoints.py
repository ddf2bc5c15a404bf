"""Which servers to talk to, and which addresses in their answers may be believed.

The database's and the contents' addresses come from Apple's answers (facts/sign-in.md §1.1). They are
followed only to Apple's own hosts over https, or to the host that the person configured: an answer
cannot send the session's cookies anywhere else.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import Literal

import httpx

from icloudfs.errors import ConfigError, ProtocolError, WrongRegion

Region = Literal["global", "china"]

APPLE_DOMAINS = (
    "icloud.com",
    "icloud.com.cn",
    "icloud-content.com",
    "icloud-content.com.cn",
    "apple.com",
    "apple.com.cn",
)


@dataclass(frozen=True)
class Endpoints:
    """One iCloud: where to sign in, where the account is set up, and which hosts are its own."""

    auth: str
    """Base of the identity service, without a trailing slash."""
    setup: str
    """Base of the set-up service, without a trailing slash."""
    home: str
    """The web site whose client we are: Origin, Referer and the OAuth redirect."""
    region: str = "global"
    """``global``, ``china`` or ``custom``; kept in the session file."""
    domains: tuple[str, ...] = APPLE_DOMAINS
    """Hosts under these may hold the database and the contents, over https alone."""

    @classmethod
    def at(cls, url: str) -> Endpoints:
        """All services at one base address, such as a simulator's.

        Raises ConfigError unless it is https, or plain http to this machine: tokens and codes
        would be readable on the way.
        """
        base = url.rstrip("/")
        _require_private_channel(base)
        return cls(
            auth=f"{base}/appleauth/auth",
            setup=f"{base}/setup/ws/1",
            home=base,
            region="custom",
            domains=(),
        )

    @property
    def auth_origin(self) -> str:
        """Scheme and host of the identity service, as most clients send it for ``Origin``."""
        url = httpx.URL(self.auth)
        return f"{url.scheme}://{url.netloc.decode('ascii')}"

    def accepts(self, url: str) -> bool:
        """Whether ``url``, found in an answer, leads to this iCloud and nowhere else."""
        try:
            target = httpx.URL(url)
            if target.userinfo or not target.host:  # a host that IDNA refuses is said only now
                return False
        except (httpx.InvalidURL, TypeError, ValueError):
            return False
        return self._is_configured(target) or self._is_apples(target)

    def checked(self, url: str) -> str:
        """``url`` itself, if it is acceptable; else ProtocolError, naming the host alone."""
        if not self.accepts(url):
            raise ProtocolError(f"Apple's answer points to an unexpected server: {_host(url)}.")
        return url

    def _is_configured(self, target: httpx.URL) -> bool:
        ours = {(httpx.URL(base).scheme, httpx.URL(base).host) for base in self._bases()}
        return (target.scheme, target.host) in ours

    def _is_apples(self, target: httpx.URL) -> bool:
        return target.scheme == "https" and any(
            target.host == domain or target.host.endswith(f".{domain}") for domain in self.domains
        )

    def _bases(self) -> tuple[str, str, str]:
        return self.auth, self.setup, self.home


GLOBAL = Endpoints(
    auth="https://idmsa.apple.com/appleauth/auth",
    setup="https://setup.icloud.com/setup/ws/1",
    home="https://www.icloud.com",
)

CHINA = Endpoints(
    # The sources disagree about the identity service of mainland China: icloudpd and kei use
    # .com.cn, pyicloud changed from .cn to .com in July 2026 as a fix, and icloud-photos-sync uses
    # .com too (facts/sign-in.md §1.1). The newest word wins; ``with_chinese_identity`` is the other.
    auth="https://idmsa.apple.com/appleauth/auth",
    setup="https://setup.icloud.com.cn/setup/ws/1",
    home="https://www.icloud.com.cn",
    region="china",
)


def for_region(region: str) -> Endpoints:
    """Apple's servers for ``global`` or ``china``; WrongRegion for anything else."""
    match region:
        case "global":
            return GLOBAL
        case "china":
            return CHINA
        case _:
            raise WrongRegion(f"There is no region called {region!r}.")


def with_chinese_identity(endpoints: Endpoints) -> Endpoints:
    """The same servers with the identity service at ``idmsa.apple.com.cn``."""
    return replace(endpoints, auth="https://idmsa.apple.com.cn/appleauth/auth")


def _require_private_channel(url: str) -> None:
    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise ConfigError(f"Not an address of an iCloud server: {url!r}.") from error
    if target.scheme == "https" and target.host:
        return
    if target.scheme == "http" and is_loopback(target.host):
        return
    raise ConfigError(
        f"An iCloud server must be reached by https, or by http on this machine: {url!r}."
    )


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(url: str) -> str:
    try:
        return httpx.URL(url).host or "no host"
    except (httpx.InvalidURL, TypeError, ValueError):
        return "not an address"
