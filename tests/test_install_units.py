"""Putting units in place, and finding the machine afterwards as it was."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from icloudfs.cli import install_units
from icloudfs.errors import ConfigError
from icloudfs.pathtext import is_text
from icloudfs.systemd import installing
from icloudfs.systemd.installing import Folder, Machine, escaped
from tests.odd import NAMES

PROGRAM = Path("/opt/icloudfs/bin/icloudfs")
PHOTOS = Folder(Path("/srv/photos of 100%"), "me@example.com")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One whose systemd nobody touches."""
    monkeypatch.setattr(installing, "_tell_systemd", lambda *command: iter(()))
    monkeypatch.setattr(installing, "_mind_who_can_start", lambda program: iter(()))
    return Machine(PROGRAM, tmp_path, {"HOME": str(tmp_path / "home")})


def everything(root: Path) -> dict[str, str]:
    """Every file and link below."""
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_for_a_user(machine: Machine, tmp_path: Path) -> None:
    said = list(installing.install_for_user(machine))

    unit = everything(tmp_path)["home/.config/systemd/user/icloudfs@.service"]
    assert f"ExecStart={PROGRAM} mount --foreground %f\n" in unit
    assert "@PROGRAM@" not in unit
    assert "enable --now icloudfs@" in said[-1]
    assert next(installing.install_for_user(machine)).endswith("as it should be already.")

    list(installing.undo_for_user(machine))
    assert everything(tmp_path) == {}


def test_for_a_server(machine: Machine, tmp_path: Path) -> None:
    said = list(installing.install_for_system(machine, [PHOTOS]))

    files = everything(tmp_path)
    assert files["sbin/mount.icloudfs"] == files["usr/local/bin/icloudfs"] == str(PROGRAM)
    assert f"ExecStart={PROGRAM} mount" in files["etc/systemd/system/icloudfs@.service"]
    pair = r"etc/systemd/system/srv-photos\x20of\x20100\x25"
    assert "Where=/srv/photos of 100%%\n" in files[f"{pair}.mount"]
    assert "What=icloudfs:me@example.com\n" in files[f"{pair}.mount"]
    assert "Where=/srv/photos of 100%%\n" in files[f"{pair}.automount"]
    assert 'cookie_directory = "/var/lib/icloudfs"' in files["etc/icloudfs/config.toml"]
    assert not any("@PROGRAM@" in text or "@FOLDER@" in text for text in files.values())
    assert all(any(name in line for line in said) for name in ("config.toml", "mount.icloudfs"))

    list(installing.undo_for_system(machine))
    assert everything(tmp_path) == {}


def test_settings_of_somebody_s_own_are_kept(machine: Machine, tmp_path: Path) -> None:
    list(installing.install_for_system(machine, []))
    config = tmp_path / "etc/icloudfs/config.toml"
    config.write_text('username = "me@example.com"\n')

    again = list(installing.install_for_system(machine, []))
    assert any("config.toml is not of our making" in line for line in again)
    undone = list(installing.undo_for_system(machine))

    assert any("config.toml was changed by somebody else" in line for line in undone)
    assert everything(tmp_path) == {"etc/icloudfs/config.toml": 'username = "me@example.com"\n'}


def test_a_link_of_somebody_s_own_is_kept(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "sbin").mkdir()
    helper = tmp_path / "sbin/mount.icloudfs"
    helper.symlink_to("/elsewhere")
    list(installing.install_for_system(machine, []))
    list(installing.undo_for_system(machine))
    assert str(helper.readlink()) == "/elsewhere"


def test_a_link_that_somebody_changed_is_kept(machine: Machine, tmp_path: Path) -> None:
    list(installing.install_for_system(machine, []))
    helper = tmp_path / "sbin/mount.icloudfs"
    helper.unlink()
    helper.symlink_to("/elsewhere")
    list(installing.undo_for_system(machine))
    assert everything(tmp_path) == {"sbin/mount.icloudfs": "/elsewhere"}


def test_an_upgrade_that_lies_elsewhere(machine: Machine, tmp_path: Path) -> None:
    list(installing.install_for_system(machine, []))
    moved = Machine(Path("/usr/bin/icloudfs"), machine.root, machine.environment)
    list(installing.install_for_system(moved, []))
    assert everything(tmp_path)["sbin/mount.icloudfs"] == "/usr/bin/icloudfs"
    list(installing.undo_for_system(moved))
    assert everything(tmp_path) == {}


def test_a_folder_needs_its_whole_path(machine: Machine) -> None:
    with pytest.raises(ConfigError, match="whole path"):
        list(installing.install_for_system(machine, [Folder(Path("photos"), "me@example.com")]))


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("/srv/photos", "srv-photos"),
        ("/home/me/My Photos", r"home-me-My\x20Photos"),
        ("/srv/a-b", r"srv-a\x2db"),
        ("/.hidden/x", r"\x2ehidden-x"),
        ("/srv/\u00e9", r"srv-\xc3\xa9"),
    ],
)
def test_names_of_units(folder: str, name: str) -> None:
    assert escaped(Path(folder)) == name
    if program := shutil.which("systemd-escape"):
        told = subprocess.run([program, "--path", folder], capture_output=True, text=True)
        assert told.stdout.strip() == name


def test_a_program_that_others_cannot_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (line,) = installing._mind_who_can_start(tmp_path / "icloudfs")
    assert str(tmp_path) in line


def test_as_a_person_types_it(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install_units, "Machine", lambda program: machine)
    run = CliRunner().invoke
    assert "Wrote " in run(install_units.command, []).output
    assert "Removed " in run(install_units.command, ["--undo"]).output
    system = ["--system", "--automount", "me@example.com", "/srv/photos"]
    assert "enable --now srv-photos.automount" in run(install_units.command, system).output
    assert "Removed " in run(install_units.command, ["--system", "--undo"]).output
    assert everything(tmp_path) == {}
    refused = run(install_units.command, system[1:])
    assert isinstance(refused.exception, ConfigError)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_folder_of_any_name_is_taken_or_refused(
    machine: Machine, tmp_path: Path, name: str
) -> None:
    """Never written in a way that systemd reads as something else."""
    folder = Path("/srv", name)
    if program := shutil.which("systemd-escape"):
        told = subprocess.run([program, "--path", folder], capture_output=True, text=True)
        assert told.stdout.removesuffix("\n") == escaped(folder)
    try:
        list(installing.install_for_system(machine, [Folder(folder, "me@example.com")]))
    except ConfigError as error:
        is_hard = set(name) & set("\t\n\r\x0b\x0c\x1b\x1c\x7f") or name[-1] in " \\"
        assert is_hard or not is_text(name) or len(escaped(folder)) > 245
        assert repr(str(folder)) in str(error) and everything(tmp_path) == {}
        return
    unit = everything(tmp_path)[f"etc/systemd/system/{escaped(folder)}.mount"]
    assert f"\nWhere=/srv/{name.replace('%', '%%')}\n" in unit


@pytest.mark.parametrize("name", ["with blank", 'quo"te', "100%", "back\\slash"])
def test_a_program_that_lies_anywhere(machine: Machine, tmp_path: Path, name: str) -> None:
    program = Path("/opt", name, "icloudfs")
    list(installing.install_for_user(msgspec.structs.replace(machine, program=program)))
    unit = tmp_path / "home/.config/systemd/user/icloudfs@.service"
    command = unit.read_text().partition("ExecStart=")[2].partition(" mount ")[0]
    assert shlex.split(command.replace("%%", "%")) == [str(program)]
