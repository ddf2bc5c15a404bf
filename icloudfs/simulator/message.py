"""A request and its answer, free of sockets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

Json = dict[str, Any]
"""A JSON object."""

_REAL_SUFFIXES = ("apple.com", "icloud.com", "icloud-content.com")


class BadRequestError(Exception):
    """The body is not what the endpoint takes; answered with status 400."""


@dataclass
class Request:
    """One HTTP request, its body read whole."""

    method: str
    target: str
    """Path and query as they came."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    scheme: str = "http"
    tunnelled_host: str = ""
    """The host that CONNECT asked for, at the TLS door."""
    call: Any = None
    """The traffic log's entry for it."""

    @cached_property
    def path(self) -> str:
        return unquote(self.target.split("?", 1)[0])

    @cached_property
    def query(self) -> dict[str, str]:
        _, _, query = self.target.partition("?")
        return dict(parse_qsl(query, keep_blank_values=True))

    @cached_property
    def host(self) -> str:
        """The host the client believes it speaks to, without a port."""
        named = self.headers.get("x-original-host") or self.tunnelled_host
        return (named or self.headers.get("host", "127.0.0.1")).split(":")[0].lower()

    @cached_property
    def at_apple(self) -> bool:
        """Whether the client uses Apple's own host names (facts/real-clients.md §3)."""
        bare = self.host.removesuffix(".cn")
        return any(bare == suffix or bare.endswith("." + suffix) for suffix in _REAL_SUFFIXES)

    @property
    def here(self) -> str:
        """The URL of the plain door, as this client reached it."""
        return f"{self.scheme}://{self.headers.get('host', '127.0.0.1')}"

    @cached_property
    def cookies(self) -> dict[str, str]:
        """Cookies by name; the quotes around a value are dropped, since some clients lose them."""
        pairs = (part.strip().partition("=") for part in self.headers.get("cookie", "").split(";"))
        return {name: value.strip('"') for name, _, value in pairs if name}

    def json(self) -> Json:
        """The body as a JSON object; nothing and ``null`` are the empty one.

        Raises BadRequestError if it is anything else.
        """
        if not self.body.strip():
            return {}
        try:
            value = msgspec.json.decode(self.body)
        except msgspec.DecodeError as error:
            raise BadRequestError(f"not JSON: {error}") from None
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise BadRequestError("not a JSON object")
        return value


@dataclass
class Delivery:
    """How a body reaches the client, if not at once and whole. All in bytes of the body."""

    stop_after: int | None = None
    """Close the connection after so many."""
    stall_after: int | None = None
    """Send so many, then nothing, and keep the connection open."""
    bytes_per_second: float | None = None
    no_answer: bool = False
    """Close the connection without a status line."""
    interim: bool = False
    """Send answers of status 103 for as long as the client listens, and no other."""


@dataclass
class Response:
    """One HTTP answer. ``pieces``, if given, is the body instead, of a length not known before."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | memoryview = b""
    pieces: Iterator[bytes] | None = None
    delivery: Delivery | None = None


def json_response(
    value: object, status: int = 200, headers: list[tuple[str, str]] | None = None
) -> Response:
    """A JSON answer with CloudKit's content type (facts/cloudkit.md §1.6)."""
    kind = ("Content-Type", "application/json; charset=UTF-8")
    return Response(status, [kind, *(headers or [])], msgspec.json.encode(value))
