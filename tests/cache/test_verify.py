from __future__ import annotations

import hashlib
import os
import tracemalloc
from functools import partial
from pathlib import Path

import pytest
import trio

from icloudfs.apple import checksum as apple
from icloudfs.cache.verify import Digests, RunningDigest, digest, judge
from icloudfs.errors import ContentMismatch
from tests.cache.server import MIB, some_bytes

CONTENT = some_bytes(2 * MIB + 5)


async def _digests(path: Path) -> Digests:
    await trio.Path(path).write_bytes(CONTENT)
    fd = os.open(path, os.O_RDONLY)
    try:
        return await trio.to_thread.run_sync(digest, fd)
    finally:
        os.close(fd)


async def test_one_pass_gives_both(tmp_path: Path) -> None:
    found = await _digests(tmp_path / "photo")
    assert found.size == len(CONTENT)
    assert apple.from_digest(found.salted_sha1) == apple.of(CONTENT)
    assert found.sha256 == hashlib.sha256(CONTENT).hexdigest()


async def test_the_verdict_names_both_sides(tmp_path: Path) -> None:
    found = await _digests(tmp_path / "photo")
    right, other = apple.of(CONTENT), apple.of(b"other")
    assert judge(right, len(CONTENT), found)
    assert not judge("BAAA", len(CONTENT), found)  # a keyed checksum: only the size can be checked
    with pytest.raises(ContentMismatch) as raised:
        judge(other, len(CONTENT), found)
    assert other in str(raised.value) and right in str(raised.value)
    for checksum in (right, "BAAA"):
        with pytest.raises(ContentMismatch, match=f"Expected 7 bytes, found {len(CONTENT)}"):
            judge(checksum, 7, found)


async def test_what_waits_to_be_kept_costs_no_memory(tmp_path: Path) -> None:
    """Photos that were read and verified may wait for a slow disk by the hundred."""
    path = tmp_path / "photo"
    path.write_bytes(b"photo")
    running = [RunningDigest() for _ in range(100)]
    with path.open("rb") as file:
        tracemalloc.start()
        for one in running:
            await trio.to_thread.run_sync(partial(digest, file.fileno(), begun=one))
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert {one.result().size for one in running} == {5}
    assert held < 4 * MIB
