"""What ``icloudfs desktop install`` puts into a desktop, and ``uninstall`` takes out again (traces.py)."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from icloudfs import xdg
from icloudfs.desktop import rewriting, thumbnailer
from icloudfs.pathtext import is_text
from icloudfs.traces import Traces, read

_MIME_TYPES = (
    "image/jpeg",
    "image/png",
    "image/heif",
    "image/heic",
    "image/tiff",
    "image/gif",
    "image/webp",
    "image/x-adobe-dng",
    "video/quicktime",
    "video/mp4",
)


class Machine(msgspec.Struct, frozen=True):
    """Where things lie. The user's own directories follow the XDG variables."""

    program: Path = Path("/usr/local/bin/icloudfs-thumbnailer")
    """Below /usr, since the sandbox of file managers shows nothing else (facts/desktop.md §1.4)."""
    updatedb: Path = Path("/etc/updatedb.conf")
    tumbler: Path = Path("/etc/xdg/tumbler/tumbler.rc")
    is_root: bool = msgspec.field(default_factory=lambda: os.geteuid() == 0)
    environment: dict[str, str] = msgspec.field(default_factory=lambda: dict(os.environ))

    @property
    def data(self) -> Path:
        return xdg.directory("XDG_DATA_HOME", ".local/share", self.environment)

    @property
    def config(self) -> Path:
        return xdg.directory("XDG_CONFIG_HOME", ".config", self.environment)

    @property
    def record(self) -> Path:
        return (
            xdg.directory("XDG_STATE_HOME", ".local/state", self.environment)
            / "icloudfs"
            / "desktop.json"
        )


def install(machine: Machine, folders: Sequence[Path]) -> Iterator[str]:
    """Do what is not done yet; a line about each thing. Raises OSError."""
    named = [str(folder) for folder in folders if is_text(str(folder))]
    yield from _program(machine)
    yield from _traces(machine).put(_thumbnailer_entry(machine), _entry_text(machine))
    yield from _tumbler(machine, named)
    yield from _baloo(machine, named)
    yield from _updatedb(machine)
    for folder in folders:
        if not is_text(str(folder)):
            yield f"{folder} is no UTF-8: neither Baloo nor tumbler can be told of it."


def uninstall(machine: Machine) -> Iterator[str]:
    """Undo what ``install`` did, the last thing first; a line about each. Raises OSError."""
    yield from _traces(machine).undo(_again("uninstall"))


# -- the things ----------------------------------------------------------------------------------------


def _program(machine: Machine) -> Iterator[str]:
    path, text = machine.program, read(Path(thumbnailer.__file__)) or ""
    if read(path) == text:
        yield f"{path} is there already."
    elif machine.is_root:
        yield from _traces(machine).put(path, text, mode=0o755)
    else:
        source = shlex.quote(thumbnailer.__file__)
        yield f"Needed for Nautilus, Caja and Thunar; as root, run: install -m 755 {source} {path}"
    if shutil.which("gdk-pixbuf-thumbnailer") is None:
        yield "Needed by it: gdk-pixbuf-thumbnailer (Debian: libgdk-pixbuf2.0-bin)."


def _thumbnailer_entry(machine: Machine) -> Path:
    return machine.data / "thumbnailers" / "icloudfs.thumbnailer"


def _entry_text(machine: Machine) -> str:
    return (
        "[Thumbnailer Entry]\n"
        f"TryExec={machine.program}\n"
        f"Exec={machine.program} %s %i %o\n"
        f"MimeType={';'.join(_MIME_TYPES)};\n"
    )


def _tumbler(machine: Machine, folders: list[str]) -> Iterator[str]:
    """For Thunar: tumbler's own plug-ins come before all ``.thumbnailer`` programs, but not in the mounts."""
    path = machine.config / "tumbler" / "tumbler.rc"
    # Of two such files tumbler reads only one, so ours begins as a copy of the other.
    text = read(path) or read(machine.tumbler)
    if text is not None:
        wanted = rewriting.with_plugins_excluded(text, folders)
        yield from _traces(machine).put(path, wanted, kind="tumbler", folders=folders)


def _baloo(machine: Machine, folders: list[str]) -> Iterator[str]:
    path = machine.config / "baloofilerc"
    own = read(path)
    if own is None and not any(map(shutil.which, ("balooctl", "balooctl6", "baloo_file"))):
        return
    text = rewriting.with_excluded(own or "", folders)
    yield from _traces(machine).put(path, text, kind="baloo", folders=folders)


def _updatedb(machine: Machine) -> Iterator[str]:
    text = read(machine.updatedb)
    if machine.is_root and text is not None:
        wanted = rewriting.with_filesystem(text)
        yield from _traces(machine).put(machine.updatedb, wanted, kind="updatedb")


# -- what was done -------------------------------------------------------------------------------------


def _traces(machine: Machine) -> Traces:
    return Traces(machine.record, _without)


def _without(kind: str, text: str, folders: Sequence[str]) -> str:
    match kind:
        case "baloo":
            return rewriting.without_excluded(text, folders)
        case "tumbler":
            return rewriting.without_plugins_excluded(text, folders)
        case "updatedb":
            return rewriting.without_filesystem(text)
    return text


def _again(what: str) -> str:
    return f"{shutil.which('icloudfs') or 'icloudfs'} desktop {what}"
