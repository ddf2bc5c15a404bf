"""Running the simulator: in a trio program, in a thread of its own, or as a whole process."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import trio

from icloudfs.simulator.account import Account
from icloudfs.simulator.application import Application
from icloudfs.simulator.cloud import Cloud
from icloudfs.simulator.door import serve_connection
from icloudfs.simulator.faults import Faults
from icloudfs.simulator.library import LibraryPlan, build
from icloudfs.simulator.phone import Phone
from icloudfs.simulator.proxy import Authority, serve_tunnel
from icloudfs.simulator.sharing import add_shared_albums
from icloudfs.simulator.traffic import Traffic

_HOST = "127.0.0.1"
_BACKLOG = 256

T = TypeVar("T")


@dataclass(frozen=True)
class Address:
    """Where a running simulator can be reached."""

    port: int
    proxy_port: int | None = None
    certificate: bytes = b""
    """The TLS door's authority, PEM."""

    @property
    def url(self) -> str:
        """The plain door; everything is below it."""
        return f"http://{_HOST}:{self.port}"

    @property
    def proxy_url(self) -> str:
        """What ``HTTPS_PROXY`` is set to."""
        return f"http://{_HOST}:{self.proxy_port}"

    @property
    def endpoints(self) -> dict[str, str]:
        """The endpoints table for a client."""
        return {
            "auth": f"{self.url}/appleauth/auth",
            "setup": f"{self.url}/setup/ws/1",
            "home": self.url,
        }


class Simulator:
    """A local iCloud with one account and its library."""

    def __init__(
        self,
        library: LibraryPlan | None = None,
        account: Account | None = None,
        latency: float = 0.0,
    ) -> None:
        plan = library or LibraryPlan()
        self.cloud: Cloud
        self.cloud, camera = build(plan)
        self.account = account or Account()
        self.cloud.dsid = self.account.dsid
        add_shared_albums(plan, self.cloud)
        if not self.account.photos:
            self.cloud.remove_libraries()
        self.phone = Phone(self.cloud, camera, plan.seed)
        self.application = Application(self.cloud, self.account, self.phone, latency)

    @property
    def faults(self) -> Faults:
        return self.application.faults

    @property
    def traffic(self) -> Traffic:
        return self.application.traffic

    def advance(self, seconds: float) -> None:
        """Let time pass: tokens, URLs and trust grow older."""
        self.cloud.clock.advance(seconds)

    def tell_time(self, off: float) -> None:
        """Let the ``Date`` header be ahead by so many seconds."""
        self.cloud.clock.told_off = off

    def move_to(self, address: str) -> None:
        """Be at another place in the internet: trust tokens got elsewhere are refused."""
        self.application.keeper.address = address

    def expire(self, what: str) -> int:
        """End sessions of a kind; see account.Doorkeeper.expire."""
        return self.application.keeper.expire(what)

    @asynccontextmanager
    async def running(
        self, port: int = 0, proxy_port: int | None = None, ca_file: Path | None = None
    ) -> AsyncIterator[Address]:
        """Open the plain door, and the TLS door if ``proxy_port`` is given (0 finds a free one)."""
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            plain = await self._open(
                nursery, port, partial(serve_connection, application=self.application)
            )
            tls: int | None = None
            certificate = b""
            if proxy_port is not None:
                authority = Authority(self.application.faults)
                certificate = authority.certificate
                if ca_file is not None:
                    authority.write_to(ca_file)
                tunnel = partial(serve_tunnel, application=self.application, authority=authority)
                tls = await self._open(nursery, proxy_port, tunnel)
            try:
                yield Address(plain, tls, certificate)
            except Exception as error:
                failure = error  # raised below as it is, not in a group of one
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _open(self, nursery: trio.Nursery, port: int, handler: Callable[..., Any]) -> int:
        listeners = await trio.open_tcp_listeners(port, host=_HOST, backlog=_BACKLOG)
        await nursery.start(trio.serve_listeners, handler, listeners)
        return int(listeners[0].socket.getsockname()[1])


async def serve(
    port: int = 0,
    plan: LibraryPlan | None = None,
    account: Account | None = None,
    latency: float = 0.0,
    ready: Callable[[Address], None] | None = None,
    proxy_port: int | None = None,
    ca_file: Path | None = None,
) -> None:
    """Run a simulator until cancelled; ``ready`` is called once its doors are open."""
    simulator = await trio.to_thread.run_sync(Simulator, plan, account, latency)
    async with simulator.running(port, proxy_port, ca_file) as address:
        if ready is not None:
            ready(address)
        await trio.sleep_forever()


class SimulatorThread:
    """A simulator in a thread with a trio of its own, for programs that have none.

    ``with SimulatorThread(plan) as running: running.url …``. The phone and the faults may be used from
    any thread through ``run``, which runs a function inside the simulator's own thread.
    """

    def __init__(
        self,
        library: LibraryPlan | None = None,
        account: Account | None = None,
        latency: float = 0.0,
        *,
        port: int = 0,
        proxy_port: int | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self.simulator = Simulator(library, account, latency)
        self._open = partial(self.simulator.running, port, proxy_port, ca_file)
        self._opened = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="simulator", daemon=True)
        self.address: Address
        self._scope: trio.CancelScope
        self._token: trio.lowlevel.TrioToken

    @property
    def url(self) -> str:
        return self.address.url

    @property
    def port(self) -> int:
        return self.address.port

    def run(self, function: Callable[..., T], *args: Any, **keywords: Any) -> T:
        """Call ``function`` in the simulator's thread; what it returns or raises."""
        call = partial(function, *args, **keywords)
        return trio.from_thread.run_sync(call, trio_token=self._token)

    def __enter__(self) -> Self:
        self._thread.start()
        self._opened.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join()

    def _main(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:  # handed to the thread that waits in __enter__
            self._failure = error
        finally:
            self._opened.set()

    async def _serve(self) -> None:
        with trio.CancelScope() as self._scope:
            self._token = trio.lowlevel.current_trio_token()
            async with self._open() as self.address:
                self._opened.set()
                await trio.sleep_forever()
