"""Cookies: at the TLS door in exactly Apple's form, at the plain door as a host's own."""

from __future__ import annotations

import time

from icloudfs.simulator.message import Request

REPAIR = "X-APPLE-WEBAUTH-REPAIR"
"""What comes in its place for an account that has something to do on icloud.com first (§6.2)."""
PCS_COOKIES = ("X-APPLE-WEBAUTH-PCS-Photos", "X-APPLE-WEBAUTH-PCS-Sharing")

Header = tuple[str, str]


def set_cookie(
    request: Request, name: str, value: str, expires: float, *, http_only: bool = True
) -> Header:
    """A ``Set-Cookie`` header; ``expires`` is in seconds since the epoch.

    Apple writes ``Expires=Tue,16-Jan-2024 02:07:19 GMT``, without a blank, and quotes the value.
    """
    when = time.strftime("%a,%d-%b-%Y %H:%M:%S GMT", time.gmtime(expires))
    parts = [f'{name}="{value}"']
    parts.append(f"Expires={when}")
    if request.at_apple:
        parts.append(f"Domain={_domain(request.host)}")
    parts.append("Path=/")
    if request.at_apple:
        parts.append("Secure")
    if http_only:
        parts.append("HttpOnly")
    return "Set-Cookie", ";".join(parts)


def delete_cookie(request: Request, name: str) -> Header:
    """Take a cookie back: an empty value that expired long ago."""
    return set_cookie(request, name, "", 1.0)


def _domain(host: str) -> str:
    chinese = ".cn" if host.endswith(".cn") else ""
    name = ".apple.com" if "apple.com" in host else ".icloud.com"
    return name + chinese
