"""Random reads of random files under random faults: the right bytes or an error, never wrong bytes."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icloudfs.apple.content import ExpiredURL, Interrupted
from icloudfs.cache import Cache, OpenFile
from icloudfs.errors import ContentMismatch, IcloudfsError, LoginNeeded, Offline, Throttled
from icloudfs.state import contents
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.server import KIB, MIB, Server, running, some_bytes

SIZES = (0, 1, 100 * KIB, 128 * KIB, 300 * KIB, MIB, 3 * MIB, 7 * MIB)
WHOLE_BELOW = 2 * MIB

_ERRORS = (
    lambda: ExpiredURL("HTTP 410"),
    lambda: Interrupted("broke", received=0),
    lambda: Offline("no connection"),
    lambda: Throttled("later", retry_after=0.01),
    lambda: LoginNeeded("sign in"),
    lambda: ZeroDivisionError(),
)


@dataclass(frozen=True)
class Read:
    file: int
    offset: float
    """Of the file's size."""
    size: int
    patience: float | None
    """Seconds after which the reader is cancelled."""


@dataclass(frozen=True)
class Trouble:
    knob: str
    value: int


_READS = st.builds(
    Read,
    file=st.integers(0, len(SIZES) - 1),
    offset=st.sampled_from((0.0, 0.0, 0.1, 0.5, 0.9, 0.999)),
    size=st.sampled_from((1, 4 * KIB, 64 * KIB, 128 * KIB, MIB)),
    patience=st.sampled_from((None, None, None, 0.005)),
)
_TROUBLES = st.builds(
    Trouble,
    knob=st.sampled_from(("flip", "cut", "refuse", "error", "away", "none", "evict", "delete")),
    value=st.integers(0, 3 * MIB),
)
_ROUNDS = st.lists(st.tuples(_TROUBLES, st.lists(_READS, min_size=1, max_size=5)), max_size=5)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rounds=_ROUNDS, limit=st.sampled_from((0, 0, 4 * MIB)), strict=st.booleans())
def test_never_a_wrong_byte(
    rounds: list[tuple[Trouble, list[Read]]], limit: int, strict: bool
) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        patch("icloudfs.cache.reachability._BREATH", 0.02),
        patch("icloudfs.cache.pull._FIRST_PAUSE", 0.005),
    ):
        trio.run(_live_through, Path(directory), rounds, limit, strict)


async def _live_through(
    directory: Path, rounds: list[tuple[Trouble, list[Read]]], limit: int, strict: bool
) -> None:
    server = Server()
    originals = [some_bytes(size, seed) for seed, size in enumerate(SIZES)]
    files = [server.add(content) for content in originals]
    database = Database(directory / "state.db")
    async with running(
        directory / "cache",
        database,
        server,
        whole_below=WHOLE_BELOW,
        limit=limit,
        strict=strict,
    ) as cache:
        handles = [cache.open(file) for file in files]
        for trouble, reads in rounds:
            await _cause(trouble, server, cache, directory)
            async with trio.open_nursery() as nursery:
                for read in reads:
                    nursery.start_soon(_read, handles, originals, read)
        for handle in handles:
            handle.close()
        await trio.sleep(0.02)
        # All faults lifted: whatever happened before, everything reads right.
        await _cause(Trouble("none", 0), server, cache, directory)
        await trio.sleep(0.03)
        for file, original in zip(files, originals, strict=True):
            with suppress(ContentMismatch):  # wrong bytes of a head or a stream are found out now
                await cache.fetch(file)
            await cache.fetch(file)
            handle = cache.open(file)
            assert handle.verified or limit
            for at in range(0, len(original), MIB):
                assert await handle.read(at, MIB) == original[at : at + MIB]
            handle.close()
        with trio.fail_after(10):  # an eviction may be on its way: files first, then their rows
            while cache.usage != await database.write(contents.cached_bytes):  # noqa: ASYNC110
                await trio.sleep(0.01)
        if not limit:
            assert all(_is_downloaded(database, file) for file in files if file.size)
    database.close()


async def _cause(trouble: Trouble, server: Server, cache: Cache, directory: Path) -> None:
    server.flipped = server.cut_after = None
    server.refuse, server.away = "", False
    server.errors.clear()
    match trouble.knob:
        case "flip":
            server.flipped = trouble.value
        case "cut":
            server.cut_after = trouble.value // 4
        case "refuse":
            server.refuse = "text/html"
        case "error":
            server.errors = [_ERRORS[trouble.value % len(_ERRORS)]() for _ in range(2)]
        case "away":
            server.away = True
        case "evict":
            await cache.evict(trouble.value)
        case "delete":
            for path in (directory / "cache" / "content").glob("*/*"):
                path.unlink()


async def _read(handles: list[OpenFile], originals: list[bytes], read: Read) -> None:
    original, handle = originals[read.file], handles[read.file]
    start = int(len(original) * read.offset)
    stop = min(start + read.size, len(original))
    with trio.move_on_after(read.patience or 60):
        try:
            data = await handle.read(start, read.size)
        except IcloudfsError:
            return
        assert len(data) == stop - start
        if data != original[start:stop]:
            # Only what may be shown before it is checked: a head in small pieces, or a stream.
            assert not handle.verified
            is_head = stop <= 128 * KIB and stop - start <= 64 * KIB
            assert is_head or len(original) > WHOLE_BELOW


def _is_downloaded(database: Database, file: File) -> bool:
    row = contents.get(database.reader, file.checksum)
    return row is not None and row.status == "downloaded"
