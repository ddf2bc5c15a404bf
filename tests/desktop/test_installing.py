"""Putting things into a desktop, and finding it afterwards as it was."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from icloudfs.desktop.installing import Machine, install, uninstall
from icloudfs.pathtext import is_text
from tests.odd import NAMES

MOUNT = Path("/home/me/Photos")
UPDATEDB = 'PRUNEFS="NFS afs"\n'
BALOO = "[General]\ndbVersion=2\n"
TUMBLER = (
    "[JPEGThumbnailer]\nPriority=3\nExcludes=\n\n[DesktopThumbnailer]\nPriority=1\nExcludes=\n"
)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """With everything that there is something to do about."""
    files = {
        "etc/updatedb.conf": UPDATEDB,
        "etc/tumbler.rc": TUMBLER,
        "home/.config/baloofilerc": BALOO,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "bin").mkdir()
    return Machine(
        program=tmp_path / "bin" / "icloudfs-thumbnailer",
        updatedb=tmp_path / "etc" / "updatedb.conf",
        tumbler=tmp_path / "etc" / "tumbler.rc",
        is_root=True,
        environment={"HOME": str(tmp_path / "home")},
    )


def everything(tmp_path: Path) -> dict[str, str]:
    return {
        str(path.relative_to(tmp_path)): path.read_text()
        for path in sorted(tmp_path.rglob("*"))
        if path.is_file()
    }


def test_what_is_put_where(machine: Machine, tmp_path: Path) -> None:
    said = list(install(machine, [MOUNT]))

    files = everything(tmp_path)
    assert files["bin/icloudfs-thumbnailer"].startswith("#!/usr/bin/python3\n")
    assert stat.S_IMODE(machine.program.stat().st_mode) == 0o755
    entry = files["home/.local/share/thumbnailers/icloudfs.thumbnailer"]
    assert f"Exec={machine.program} %s %i %o\n" in entry and "image/heic;" in entry
    assert files["home/.config/baloofilerc"] == BALOO.replace(
        "[General]\n", "[General]\nexclude folders[$e]=/home/me/Photos/\n"
    )
    tumbler = files["home/.config/tumbler/tumbler.rc"]
    assert "[JPEGThumbnailer]\nPriority=3\nExcludes=/home/me/Photos\n" in tumbler
    assert "[DesktopThumbnailer]\nPriority=1\nExcludes=\n" in tumbler
    assert files["etc/updatedb.conf"] == 'PRUNEFS="NFS afs fuse.icloudfs"\n'
    assert files["etc/tumbler.rc"] == TUMBLER
    for name in ("icloudfs-thumbnailer", "icloudfs.thumbnailer", "baloofilerc", "updatedb.conf"):
        assert any(name in line for line in said), said


def test_uninstalled_everything_is_as_it_was(machine: Machine, tmp_path: Path) -> None:
    before = everything(tmp_path)
    list(install(machine, [MOUNT]))
    list(uninstall(machine))
    assert everything(tmp_path) == before
    assert list(uninstall(machine)) == ["Nothing was installed."]


def test_a_second_time_changes_nothing(machine: Machine, tmp_path: Path) -> None:
    before = everything(tmp_path)
    list(install(machine, [MOUNT]))
    done = everything(tmp_path)
    said = list(install(machine, [MOUNT]))
    assert everything(tmp_path) == done
    assert not any(line.startswith(("Wrote", "Changed")) for line in said)
    list(install(machine, [Path("/other")]))
    assert (
        "Excludes=/home/me/Photos;/other\n"
        in (everything(tmp_path)["home/.config/tumbler/tumbler.rc"])
    )
    list(uninstall(machine))
    assert everything(tmp_path) == before


def test_what_is_the_users_own_is_left_alone(machine: Machine, tmp_path: Path) -> None:
    own = {
        tmp_path / "home/.local/share/thumbnailers/icloudfs.thumbnailer": "mine",
    }
    for path, text in own.items():
        path.parent.mkdir(parents=True)
        path.write_text(text)
    said = list(install(machine, [MOUNT]))
    list(uninstall(machine))
    for path, text in own.items():
        assert path.read_text() == text
        assert any(str(path) in line and "left alone" in line for line in said)


def test_what_was_changed_since_keeps_the_change(machine: Machine, tmp_path: Path) -> None:
    list(install(machine, [MOUNT]))
    baloo = tmp_path / "home/.config/baloofilerc"
    baloo.write_text(baloo.read_text() + "\n[Basic Settings]\nIndexing-Enabled=false\n")
    entry = tmp_path / "home/.local/share/thumbnailers/icloudfs.thumbnailer"
    entry.write_text("mine now")
    tumbler = tmp_path / "home/.config/tumbler/tumbler.rc"
    tumbler.write_text(tumbler.read_text().replace("Priority=3", "Priority=7"))

    said = list(uninstall(machine))

    assert "/home/me/Photos" not in baloo.read_text()
    assert baloo.read_text().endswith("[Basic Settings]\nIndexing-Enabled=false\n")
    assert entry.read_text() == "mine now"
    assert "Priority=7" in tumbler.read_text() and "/home/me/Photos" not in tumbler.read_text()
    assert any(str(entry) in line and "left alone" in line for line in said)


def test_who_may_not_write_below_usr_hears_what_is_needed(tmp_path: Path) -> None:
    machine = Machine(
        program=tmp_path / "icloudfs-thumbnailer",
        updatedb=tmp_path / "updatedb.conf",
        tumbler=tmp_path / "none",
        is_root=False,
        environment={"HOME": str(tmp_path / "home")},
    )
    machine.updatedb.write_text(UPDATEDB)
    said = list(install(machine, [MOUNT]))
    assert any("as root, run: install -m 755 " in line for line in said)
    assert machine.updatedb.read_text() == UPDATEDB and not machine.program.exists()
    assert (tmp_path / "home/.local/share/thumbnailers/icloudfs.thumbnailer").exists()
    assert not (tmp_path / "home/.config/tumbler").exists()


def test_xdg_directories_are_respected(machine: Machine, tmp_path: Path) -> None:
    environment = machine.environment | {
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CONFIG_HOME": "relative",
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    machine = msgspec.structs.replace(machine, environment=environment)
    list(install(machine, [MOUNT]))
    files = everything(tmp_path)
    assert "data/thumbnailers/icloudfs.thumbnailer" in files
    assert "home/.config/tumbler/tumbler.rc" in files
    assert "state/icloudfs/desktop.json" in files


def test_files_of_any_form_are_as_they_were(machine: Machine, tmp_path: Path) -> None:
    """With the ends of lines of another system, a byte order mark, and letters that are no UTF-8."""
    places = [machine.updatedb, machine.tumbler, tmp_path / "home/.config/baloofilerc"]
    before = {}
    for place in places:
        text = (
            b"\xef\xbb\xbf# M\xfcnchen \x0c\xe2\x80\xa8\n" + place.read_bytes() + b"[Last]\nkey=1"
        )
        before[place] = text.replace(b"\n", b"\r\n")
        place.write_bytes(before[place])

    list(install(machine, [MOUNT]))
    assert b"Photos/\r\n" in places[2].read_bytes()
    changed = {place: place.read_bytes() + b"\r\nlater=1" for place in (places[0], places[2])}
    for place, content in changed.items():
        place.write_bytes(content)
    list(uninstall(machine))

    assert places[1].read_bytes() == before[places[1]]
    assert places[0].read_bytes() == before[places[0]] + b"\r\nlater=1"
    key = b"exclude folders[$e]=\r\n"
    assert places[2].read_bytes().replace(key, b"") == before[places[2]] + b"\r\nlater=1"


def test_folders_of_any_name(machine: Machine, tmp_path: Path) -> None:
    before = everything(tmp_path)

    said = list(install(machine, [Path("/srv", name) for name in NAMES.values()]))

    assert sum("is no UTF-8" in line for line in said) == len(
        [n for n in NAMES.values() if not is_text(n)]
    )
    list(uninstall(machine))
    assert everything(tmp_path) == before
