"""What is looked at on this machine."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from icloudfs import doctor
from icloudfs.config import Settings
from icloudfs.mount import liveness
from icloudfs.mount.liveness import Life, Look
from icloudfs.mountinfo import TYPE, Mounted


def _mounted(name: str, user: int) -> Mounted:
    return Mounted(Path("/mnt", name), TYPE, "icloudfs:me", 1, user)


def test_only_mounts_of_the_same_user_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may not be entered, which is no sign of death."""
    own, other = os.geteuid(), os.geteuid() + 1
    lives = {"alive": Life.ANSWERS, "dead": Life.DEAD, "stuck": Life.SILENT}
    asked: list[str] = []

    async def look(place: Path) -> Look:
        asked.append(place.name)
        return Look(lives[place.name])

    monkeypatch.setattr(liveness, "look", look)
    monkeypatch.setattr(
        "icloudfs.mount.mount_table.all_of_ours",
        lambda: [*(_mounted(name, own) for name in lives), _mounted("another's", other)],
    )

    found = [*doctor._mounts()]

    assert asked == [*lives]
    assert [finding.well for finding in found] == [True, False, False]
    assert found[1].says == "/mnt/dead is dead: its daemon has ended"


def test_a_cache_on_a_disk_that_is_dead_or_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a filesystem whose daemon has ended, or stands still: it is named, and keeps nobody."""
    frozen = threading.Event()

    def dead(place: Path) -> object:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected", str(place))

    def silent(place: Path) -> object:
        frozen.wait()
        raise AssertionError(place)

    settings = Settings(username="me@example.com", cache_dir=Path("/mnt/cache"))
    monkeypatch.setattr(doctor, "_PATIENCE", 0.05)
    told = []
    for ask in (dead, silent):
        monkeypatch.setattr(doctor, "_room_at", ask)
        finding = doctor._cache(settings)
        assert not finding.well
        told.append(finding.says)
    frozen.set()
    assert "cannot be used: Transport endpoint is not connected" in told[0]
    assert "does not answer" in told[1]
