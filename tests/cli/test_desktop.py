"""``icloudfs desktop`` as a person types it."""

from __future__ import annotations

import pytest

from icloudfs.cli import desktop
from icloudfs.desktop.installing import Machine
from tests.scratch import Scratch


def test_install_and_uninstall(
    scratch: Scratch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scratch.folder
    machine = Machine(
        program=folder / "icloudfs-thumbnailer",
        updatedb=folder / "updatedb.conf",
        tumbler=folder / "tumbler.rc",
        environment={"HOME": str(folder)},
    )
    monkeypatch.setattr(desktop, "Machine", lambda: machine)
    desktop.command.main(["install", "/home/me/Photos"], standalone_mode=False)
    assert f"Wrote {machine.program}." in capsys.readouterr().out
    desktop.command.main(["uninstall"], standalone_mode=False)
    assert f"Removed {machine.program}." in capsys.readouterr().out
    assert not machine.program.exists() and not machine.record.exists()
