"""The TLS door: an HTTPS proxy that is the whole of Apple.

A client that honours ``HTTPS_PROXY`` and can be given a certificate authority asks it for
``CONNECT idmsa.apple.com:443``; the door terminates TLS with a certificate minted for that host and
feeds the decrypted requests into the same application (facts/real-clients.md §3). The client sees real
host names, real cookies, and ``Secure`` meaning what it says.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h11
import trio
import trustme

from icloudfs.simulator.door import Answering, serve_connection
from icloudfs.simulator.faults import Faults

_A_DAY = timedelta(days=1)


class Authority:
    """A certificate authority of its own, and the certificates it has minted so far."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._ca = trustme.CA(organization_name="icloudfs simulator")
        self._contexts: dict[str, ssl.SSLContext] = {}

    @property
    def certificate(self) -> bytes:
        """The authority's certificate, PEM: what a client has to trust."""
        return self._ca.cert_pem.bytes()

    def _validity(self) -> tuple[datetime | None, datetime | None]:
        """From when and until when a certificate holds; None leaves it to the authority."""
        now = datetime.now(UTC)
        if self._faults.switches.certificate_not_yet_valid:
            return now + _A_DAY, None
        if self._faults.switches.certificate_expired:
            return None, now - _A_DAY
        return None, None

    def write_to(self, path: Path) -> None:
        path.write_bytes(self.certificate)

    def context(self, host: str) -> ssl.SSLContext:
        """A server context with a certificate for ``host``."""
        if host not in self._contexts:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.set_alpn_protocols(["http/1.1"])
            begins, ends = self._validity()
            self._ca.issue_cert(host, not_before=begins, not_after=ends).configure_cert(context)
            self._contexts[host] = context
        return self._contexts[host]


async def serve_tunnel(
    stream: trio.abc.Stream, application: Answering, authority: Authority
) -> None:
    """Take one CONNECT, then speak as the host it names."""
    try:
        host = await _connect(stream)
        if host is None:
            await trio.aclose_forcefully(stream)
            return
        tunnel = trio.SSLStream(
            stream, authority.context(host), server_side=True, https_compatible=True
        )
        await tunnel.do_handshake()
    except (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError):
        await trio.aclose_forcefully(stream)  # a client that does not trust us hangs up here
        return
    await serve_connection(tunnel, application, scheme="https", tunnelled_host=host)


async def _connect(stream: trio.abc.Stream) -> str | None:
    """The host a client asks to be connected with; None if it asks for anything but a tunnel."""
    http = h11.Connection(h11.SERVER)
    request: h11.Request | None = None
    while request is None or http.their_state is h11.SEND_BODY:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(8192)))
        elif isinstance(event, h11.Request):
            request = event
        else:
            break
    if request is None:
        return None
    if request.method != b"CONNECT":
        refusal = h11.Response(status_code=405, headers=[("Connection", "close")])
        await stream.send_all(http.send(refusal) or b"")
        return None
    await stream.send_all(http.send(h11.Response(status_code=200, headers=[])) or b"")
    return request.target.decode("ascii").rsplit(":", 1)[0].lower()
