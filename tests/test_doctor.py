"""What is looked at on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from icloudfs import doctor
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
