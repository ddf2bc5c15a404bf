"""What ``icloudfs install-units`` puts into systemd, and ``--undo`` takes out again (traces.py)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from icloudfs import xdg
from icloudfs.errors import ConfigError
from icloudfs.pathtext import is_text
from icloudfs.traces import Traces

_UNITS = Path(__file__).parent / "units"
_PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where mount.fuse3 looks for a program."""


_LONGEST_NAME = 255 - len(".automount")
"""Bytes of a unit's name, which is a file's."""


class Machine(msgspec.Struct, frozen=True):
    """Where things lie."""

    program: Path
    """``icloudfs`` itself, as units are to start it."""
    root: Path = Path("/")
    """What all paths of the system are below."""
    environment: dict[str, str] = msgspec.field(default_factory=lambda: dict(os.environ))

    def system(self, path: str) -> Path:
        return self.root / path.lstrip("/")


class Folder(msgspec.Struct, frozen=True):
    """A folder that is to be mounted when somebody looks."""

    path: Path
    account: str


def this_program() -> Path:
    """The command that runs now, by a name that an upgrade does not change."""
    found = shutil.which(sys.argv[0]) or shutil.which("icloudfs")
    return Path(found or Path(sys.executable).with_name("icloudfs")).absolute()


# -- for one user ------------------------------------------------------------------------------------


def install_for_user(machine: Machine) -> Iterator[str]:
    """The service of a user; a line about each thing. Raises OSError."""
    unit = (
        xdg.directory("XDG_CONFIG_HOME", ".config", machine.environment)
        / "systemd/user/icloudfs@.service"
    )
    yield from _user_traces(machine).put(unit, _text(machine, "user/icloudfs@.service"))
    yield from _tell_systemd("systemctl", "--user", "daemon-reload")
    yield "Next: systemctl --user enable --now icloudfs@$(systemd-escape --path ~/Photos).service"


def undo_for_user(machine: Machine) -> Iterator[str]:
    """Undo ``install_for_user``. Raises OSError."""
    yield from _user_traces(machine).undo("icloudfs install-units --user --undo")
    yield from _tell_systemd("systemctl", "--user", "daemon-reload")


def _user_traces(machine: Machine) -> Traces:
    return Traces(
        xdg.directory("XDG_STATE_HOME", ".local/state", machine.environment)
        / "icloudfs"
        / "units.json"
    )


# -- for the machine ---------------------------------------------------------------------------------


def install_for_system(machine: Machine, folders: Sequence[Folder]) -> Iterator[str]:
    """The service of a server, its user, the mount helper, and units that mount ``folders`` when somebody
    looks; a line about each thing. Raises OSError."""
    for folder in folders:
        _check(folder)
    traces = _system_traces(machine)
    yield from _mind_who_can_start(machine.program)
    yield from traces.link(machine.system("/sbin/mount.icloudfs"), machine.program)
    if shutil.which("icloudfs", path=_PLACES) is None or machine.root != Path("/"):
        # For mount -t fuse.icloudfs, and for whoever types it.
        yield from traces.link(machine.system("/usr/local/bin/icloudfs"), machine.program)
    for path, name in (
        ("/etc/systemd/system/icloudfs@.service", "system/icloudfs@.service"),
        ("/etc/sysusers.d/icloudfs.conf", "system/sysusers.conf"),
        ("/etc/tmpfiles.d/icloudfs.conf", "system/tmpfiles.conf"),
        ("/etc/icloudfs/config.toml", "system/config.toml"),
    ):
        yield from traces.put(machine.system(path), _text(machine, name))
    for folder in folders:
        yield from _install_folder(machine, traces, folder)
    yield from _tell_systemd("systemd-sysusers", "icloudfs.conf")
    yield from _tell_systemd("systemd-tmpfiles", "--create", "icloudfs.conf")
    yield from _tell_systemd("systemctl", "daemon-reload")
    yield "Next: sudo -u icloudfs icloudfs login --config /etc/icloudfs/config.toml -u you@example.com"
    for folder in folders:
        yield f"Then: systemctl enable --now {escaped(folder.path)}.automount"
    if not folders:
        yield "Then: systemctl enable --now icloudfs@$(systemd-escape --path /srv/photos).service"


def undo_for_system(machine: Machine) -> Iterator[str]:
    """Undo ``install_for_system``. Raises OSError."""
    yield from _system_traces(machine).undo("icloudfs install-units --system --undo")
    yield from _tell_systemd("systemctl", "daemon-reload")
    yield "The user icloudfs, /var/lib/icloudfs and /var/cache/icloudfs are left: 'userdel', 'rm -r'."


def escaped(folder: Path) -> str:
    """The name of a folder's units, as ``systemd-escape --path`` makes it."""
    text = str(folder).strip("/") or "-"
    name = "".join(_escaped(byte) for byte in os.fsencode(text.replace("/", "\0")))
    return "\\x2e" + name[1:] if name.startswith(".") else name


def _escaped(byte: int) -> str:
    if byte == 0:
        return "-"
    letter = chr(byte)
    return letter if byte < 128 and (letter.isalnum() or letter in ":_.") else f"\\x{byte:02x}"


def _check(folder: Folder) -> None:
    """Raises ConfigError for what cannot have units."""
    if not folder.path.is_absolute() or not folder.account:
        raise ConfigError("Units for a folder need its whole path, and whose library it shows.")
    _literal(folder.account)
    _literal(str(folder.path))
    if len(escaped(folder.path)) > _LONGEST_NAME:
        raise _untellable(str(folder.path))


def _install_folder(machine: Machine, traces: Traces, folder: Folder) -> Iterator[str]:
    for kind in ("mount", "automount"):
        path = machine.system(f"/etc/systemd/system/{escaped(folder.path)}.{kind}")
        text = _text(machine, f"system/folder.{kind}")
        text = text.replace("@FOLDER@", _literal(str(folder.path)))
        yield from traces.put(path, text.replace("@ACCOUNT@", _literal(folder.account)))


def _literal(text: str) -> str:
    """As it is to the end of a line, where a percent sign would be the beginning of something else.

    Raises ConfigError for what no line of a unit can hold.
    """
    if not is_text(text) or re.search(r"[\x00-\x1f\x7f]|^ |[ \\]$", text):
        raise _untellable(text)
    return text.replace("%", "%%")


def _untellable(text: str) -> ConfigError:
    return ConfigError(
        f"systemd cannot be told of {text!r}.", hint="Choose a plainer, shorter path."
    )


def _word(text: str) -> str:
    """As a command line of a unit has it (systemd.service(5))."""
    plain = _literal(text)
    if re.fullmatch(r"[\w/.@+%:,=~-]+", plain):
        return plain
    escaped = re.sub(r'(["\\])', r"\\\1", plain)
    return f'"{escaped}"'


def _mind_who_can_start(program: Path) -> Iterator[str]:
    closed = [str(place) for place in program.resolve().parents if not place.stat().st_mode & 0o001]
    if closed:
        yield f"Mind: only its owner can look into {closed[-1]}, so the user icloudfs cannot start {program}."


def _system_traces(machine: Machine) -> Traces:
    return Traces(machine.system("/var/lib/icloudfs-units.json"))


# -- both --------------------------------------------------------------------------------------------


def _text(machine: Machine, name: str) -> str:
    text = (_UNITS / name).read_text("utf-8")
    return text.replace("@PROGRAM@", _word(str(machine.program)))


def _tell_systemd(*command: str) -> Iterator[str]:
    """Run one of its programs; where it cannot be, say that it is to be run."""
    told = " ".join(command)
    program = shutil.which(command[0])
    done = program and subprocess.run(command, check=False, capture_output=True).returncode == 0
    yield f"Ran {told}." if done else f"To be run when systemd does: {told}"
