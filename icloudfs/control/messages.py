"""What is said on the socket: one request a connection, then progress, then one outcome.

Each message is a line of JSON. Paths are relative to the mount's root; sizes in bytes; times in seconds
since the epoch unless they say otherwise.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import msgspec

from icloudfs import pathtext
from icloudfs.progress import Note, Progress
from icloudfs.sync.mirror import Mirror


class Sync(msgspec.Struct, frozen=True, tag=True):
    """Bring the list of photos up to date, then download what ``mirror`` says."""

    incremental: bool = True
    """False: list every library anew, whatever the tokens say."""
    reset_tokens: bool = False
    """Forget the sync tokens first."""
    mirror: Mirror | None = None
    """None: what the one who holds the state was told."""


class RetryFailed(msgspec.Struct, frozen=True, tag=True):
    """Fetch again what could not be had: these, or everything."""

    names: tuple[str, ...] = ()
    """Paths in the mount, or asset ids."""


class Prefetch(msgspec.Struct, frozen=True, tag=True):
    """Download what lies at or below these paths."""

    paths: tuple[str, ...]


class Evict(msgspec.Struct, frozen=True, tag=True):
    """Remove content from the cache: at or below these paths, or so many bytes, or all that may go."""

    paths: tuple[str, ...] = ()
    bytes: int | None = None


class Pin(msgspec.Struct, frozen=True, tag=True):
    """Keep what lies at or below these paths, downloading it if need be; or no longer."""

    paths: tuple[str, ...]
    pinned: bool = True


class ImportExisting(msgspec.Struct, frozen=True, tag=True):
    """Use files that are on this machine already."""

    directory: str
    """Absolute."""
    match: Literal["content", "name-size"] = "content"
    how: Literal["use", "reflink", "link", "copy"] = "use"
    dry_run: bool = False


class Verify(msgspec.Struct, frozen=True, tag=True):
    """Look whether what is downloaded is still there and still right."""

    checksums: bool = False
    repair: bool = False


class Look(msgspec.Struct, frozen=True, tag=True):
    """What is going on now."""


class AwaitListing(msgspec.Struct, frozen=True, tag=True):
    """Wait until everything is listed once."""


class SignedIn(msgspec.Struct, frozen=True, tag=True):
    """Somebody has signed in: go on where the sign-in was missing."""


Request = (
    Sync
    | RetryFailed
    | Prefetch
    | Evict
    | Pin
    | ImportExisting
    | Verify
    | Look
    | AwaitListing
    | SignedIn
)


class Done(msgspec.Struct, frozen=True, tag=True):
    """The request's result, as JSON values; its shape is that of the method in ``Library``."""

    result: Any = None


class Failed(msgspec.Struct, frozen=True, tag=True):
    """An error of ours, to be shown as if it had happened on this side."""

    error: str
    hint: str = ""
    exit_code: int = 1


class Alive(msgspec.Struct, frozen=True, tag=True):
    """Said now and then while a request is at work: so whoever waits can tell long work from a process
    that hangs."""


Answer = Progress | Note | Alive | Done | Failed

encode = pathtext.encoded
decode_request = functools.partial(pathtext.decoded, kind=Request)
decode_answer = functools.partial(pathtext.decoded, kind=Answer)
