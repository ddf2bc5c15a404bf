"""Reaching iCloud for an account: which iCloud, with which session, with whose password."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from icloudfs.apple import Endpoints, ICloud, SessionStore, for_region
from icloudfs.config import Settings
from icloudfs.passwords import kept_password


def endpoints(settings: Settings) -> Endpoints:
    """Where this account's iCloud is: Apple's, or a simulator's."""
    return Endpoints.at(settings.endpoint) if settings.endpoint else for_region(settings.region)


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[ICloud]:
    """iCloud, for one account, with its kept session. Makes no call by itself."""

    async def password() -> str | None:
        return await kept_password(settings)

    store = SessionStore(settings.cookie_directory, settings.username)
    async with ICloud(store, endpoints(settings), settings.username, password=password) as icloud:
        yield icloud
