"""A client of the control door, for tests and demonstrations in another process."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

_TIMEOUT = 60.0


class ControlError(Exception):
    """The simulator refused; ``str`` says why."""


class ControlClient:
    """Controls a simulator by its URL. Blocking; each call opens a connection of its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80

    def manifest(self) -> list[dict[str, Any]]:
        """Every asset as it truly is; see manifest.entry for the keys."""
        return [json.loads(line) for line in self._get("manifest").splitlines()]

    def albums(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self._get("albums"))
        return found

    def shared_albums(self) -> list[dict[str, Any]]:
        """Every shared album of either kind; see manifest.shared_albums for the keys."""
        found: list[dict[str, Any]] = json.loads(self._get("shared-albums"))
        return found

    def counts(self) -> dict[str, Any]:
        return self._json("GET", "counts")

    def content(self, checksum: str) -> bytes:
        """The true bytes behind a ``fileChecksum``."""
        name = checksum.replace("+", "-").replace("/", "_")
        return self._get(f"content/{name}")

    def traffic(self, *, log: bool = True) -> dict[str, Any]:
        return self._json("GET", "traffic" if log else "traffic?log=no")

    def reset_traffic(self) -> None:
        self._json("POST", "traffic/reset")

    def phone(self, method: str, **keywords: Any) -> Any:
        """Do something on the phone; what the method returns, as JSON values."""
        return self._json("POST", f"phone/{method}", keywords)["result"]

    def set_fault(self, kind: str, fault: str, **details: Any) -> None:
        """See faults.FAULTS for the names."""
        self._json("POST", "faults", {"kind": kind, "fault": fault, **details})

    def clear_faults(self, kind: str = "") -> None:
        self._json("DELETE", f"faults/{kind}" if kind else "faults")

    def faults(self) -> dict[str, Any]:
        return self._json("GET", "faults")

    def switch(self, **values: bool | int) -> None:
        self._json("POST", "switches", values)

    def advance(self, seconds: float) -> None:
        """Let time pass for tokens and URLs."""
        self._json("POST", "clock", {"seconds": seconds})

    def index_for(self, seconds: float, state: str = "RUNNING") -> None:
        """Apple is still indexing every library for so long; 0: it has just finished."""
        self._json("POST", "indexing", {"seconds": seconds, "state": state})

    def tell_time(self, off: float) -> None:
        """Let the ``Date`` header be ahead by so many seconds."""
        self._json("POST", "clock", {"told_off": off})

    def move_to(self, address: str) -> None:
        """Be at another place in the internet: trust tokens got elsewhere are refused."""
        self._json("POST", "address", {"address": address})

    def expire(self, what: str) -> int:
        """End sessions: ``web-token``, ``trust``, ``session-token``, ``pcs``, ``all`` …"""
        return int(self._json("POST", "sessions/expire", {"what": what})["expired"])

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(b"".join(self._call(method, path, body)) or b"{}")
        return answer

    def _get(self, path: str) -> bytes:
        return b"".join(self._call("GET", path, None))

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Iterator[bytes]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, f"/simulator/{path}", payload)
            answer = connection.getresponse()
            if answer.status >= 400:
                problem = answer.read()
                raise ControlError(_reason(problem) or f"HTTP {answer.status}")
            while piece := answer.read(1 << 20):
                yield piece
        finally:
            connection.close()


def _reason(problem: bytes) -> str:
    try:
        return str(json.loads(problem).get("error", ""))
    except ValueError:
        return ""
