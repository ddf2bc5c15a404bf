"""What was asked of the simulator, and what it sent."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass, field

from icloudfs.simulator.message import Json

_REMEMBERED = 20_000


@dataclass
class Call:
    """One request, as the log remembers it."""

    kind: str
    method: str
    path: str
    name: str = ""
    """What it asked for: see ``calls``."""
    status: int = 0
    bytes_out: int = 0
    """Body bytes written."""
    range: str = ""
    checksum: str = ""
    client: str = ""
    """``User-Agent``."""


@dataclass
class Traffic:
    """Counters since the last reset, and the last calls."""

    calls: Counter[str] = field(default_factory=Counter)
    """By kind."""
    endpoints: Counter[str] = field(default_factory=Counter)
    """By the last words of the path, e.g. ``private/records/query``."""
    statuses: Counter[int] = field(default_factory=Counter)
    bytes_out: int = 0
    content_bytes: Counter[str] = field(default_factory=Counter)
    """Body bytes written, by ``fileChecksum``."""
    content_gets: Counter[str] = field(default_factory=Counter)
    concurrent: int = 0
    concurrent_max: int = 0
    log: deque[Call] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def begin(self, call: Call, endpoint: str) -> None:
        self.calls[call.kind] += 1
        self.endpoints[endpoint] += 1
        if call.checksum:
            self.content_gets[call.checksum] += 1
        self.concurrent += 1
        self.concurrent_max = max(self.concurrent_max, self.concurrent)
        self.log.append(call)

    def end(self, call: Call, status: int, body_bytes: int) -> None:
        call.status = status
        call.bytes_out = body_bytes
        self.concurrent -= 1
        self.statuses[status] += 1
        self.bytes_out += body_bytes
        if call.checksum:
            self.content_bytes[call.checksum] += body_bytes

    @property
    def total(self) -> int:
        """All calls."""
        return sum(self.calls.values())

    def reset(self) -> None:
        """Forget everything but the calls that are still under way."""
        for counter in (
            self.calls,
            self.endpoints,
            self.content_bytes,
            self.content_gets,
        ):
            counter.clear()
        self.statuses.clear()
        self.log.clear()
        self.bytes_out = 0
        self.concurrent_max = self.concurrent

    def as_json(self) -> Json:
        return {
            "calls": dict(self.calls),
            "total": self.total,
            "endpoints": dict(self.endpoints),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "bytes_out": self.bytes_out,
            "content_bytes": dict(self.content_bytes),
            "content_gets": dict(self.content_gets),
            "concurrent_max": self.concurrent_max,
            "log": [asdict(call) for call in self.log],
        }
