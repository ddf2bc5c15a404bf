from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from icloudfs.cache import disk as threads
from icloudfs.cache.disk import Disk
from icloudfs.cache.filesystems import is_prompt_at, may_show_another
from icloudfs.cache.opening import open_at_once
from icloudfs.errors import DiskSilent


async def test_who_lost_patience_is_told_and_what_comes_late_is_undone() -> None:
    answers, undone = threading.Event(), threading.Event()

    with pytest.raises(DiskSilent, match="has not answered"):
        await Disk().ask(partial(answers.wait, 20), 0.05, undo=lambda _: undone.set())

    answers.set()
    assert await trio.to_thread.run_sync(undone.wait, 10)


async def test_a_disk_that_stands_still_takes_no_threads_from_others() -> None:
    answers = threading.Event()
    silent = Disk()
    async with trio.open_nursery() as nursery:
        for _ in range(2 * threads._THREADS):
            nursery.start_soon(silent.ask, partial(answers.wait, 20), 20)
        await trio.testing.wait_all_tasks_blocked()

        with trio.fail_after(10):
            assert await Disk().run(lambda: "another disk") == "another disk"
            assert await trio.to_thread.run_sync(lambda: "anything else") == "anything else"
            with pytest.raises(DiskSilent):
                await silent.ask(lambda: None, 0.05)
        answers.set()


def test_what_the_kernel_knows_by_heart_is_opened_at_once(tmp_path: Path) -> None:
    photo = tmp_path / "photo"
    photo.write_bytes(b"here")
    fd = open_at_once(photo)
    assert os.read(fd, 10) == b"here"
    os.close(fd)

    (tmp_path / "link").symlink_to(photo)
    os.mkfifo(tmp_path / "pipe")
    for other in ("link", "pipe", "nothing"):
        assert open_at_once(tmp_path / other) < 0


def test_the_kernels_own_file_systems_answer_by_themselves(tmp_path: Path) -> None:
    assert is_prompt_at(tmp_path)
    assert not is_prompt_at(Path("/proc"))
    here, elsewhere = os.fsencode(tmp_path), b"/proc/self"
    assert may_show_another([here, elsewhere]) == {elsewhere}
