"""What ``icloudfs desktop install`` puts into a desktop, and ``uninstall`` takes out again.

What was done is written down, with the texts before and after, in the order in which it was done. A file that
nobody has touched since becomes what it was, byte for byte; from one that was changed only our own words are
taken, and where that cannot be told the file is left alone, and said to be.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from icloudfs.desktop import rewriting, thumbnailer

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

    def xdg(self, variable: str, usual: str) -> Path:
        """A directory of the XDG standard, which wants relative paths to be ignored."""
        chosen = self.environment.get(variable, "")
        home = Path(self.environment.get("HOME") or Path.home())
        return Path(chosen) if chosen.startswith("/") else home / usual

    @property
    def data(self) -> Path:
        return self.xdg("XDG_DATA_HOME", ".local/share")

    @property
    def config(self) -> Path:
        return self.xdg("XDG_CONFIG_HOME", ".config")

    @property
    def record(self) -> Path:
        return self.xdg("XDG_STATE_HOME", ".local/state") / "icloudfs" / "desktop.json"


class Done(msgspec.Struct):
    """One file that was written."""

    path: str
    before: str | None
    """None: it was not there."""
    after: str
    kind: str = ""
    """How to take out our words, if somebody else has written to it since."""
    folders: list[str] = []


def install(machine: Machine, folders: Sequence[Path]) -> Iterator[str]:
    """Do what is not done yet; a line about each thing. Raises OSError."""
    named = [str(folder) for folder in folders]
    yield from _program(machine)
    yield from _put(machine, _thumbnailer_entry(machine), _entry_text(machine))
    yield from _tumbler(machine, named)
    yield from _baloo(machine, named)
    yield from _updatedb(machine)


def uninstall(machine: Machine) -> Iterator[str]:
    """Undo what ``install`` did, the last thing first; a line about each. Raises OSError."""
    record = _read_record(machine)
    if not record:
        yield "Nothing was installed."
    kept: list[Done] = []
    for done in reversed(record):
        path = Path(done.path)
        try:
            yield _undo(path, done)
        except PermissionError:
            kept.insert(0, done)
            yield f"As root, run: {_again('uninstall')}  ({path} is not yours)"
    _write_record(machine, kept)


# -- the things ----------------------------------------------------------------------------------------


def _program(machine: Machine) -> Iterator[str]:
    path, text = machine.program, Path(thumbnailer.__file__).read_text()
    if _read(path) == text:
        yield f"{path} is there already."
    elif machine.is_root:
        yield from _put(machine, path, text, mode=0o755)
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
    text = _read(path) or _read(machine.tumbler)
    if text is not None:
        wanted = rewriting.with_plugins_excluded(text, folders)
        yield from _put(machine, path, wanted, kind="tumbler", folders=folders)


def _baloo(machine: Machine, folders: list[str]) -> Iterator[str]:
    path = machine.config / "baloofilerc"
    own = _read(path)
    if own is None and not any(map(shutil.which, ("balooctl", "balooctl6", "baloo_file"))):
        return
    text = rewriting.with_excluded(own or "", folders)
    yield from _put(machine, path, text, kind="baloo", folders=folders)


def _updatedb(machine: Machine) -> Iterator[str]:
    text = _read(machine.updatedb)
    if machine.is_root and text is not None:
        wanted = rewriting.with_filesystem(text)
        yield from _put(machine, machine.updatedb, wanted, kind="updatedb")


# -- doing and undoing ---------------------------------------------------------------------------------


def _put(
    machine: Machine,
    path: Path,
    text: str,
    *,
    mode: int = 0o644,
    kind: str = "",
    folders: list[str] | None = None,
) -> Iterator[str]:
    before = _read(path)
    if before == text:
        yield f"{path} is as it should be already."
        return
    record = _read_record(machine)
    known = _known(record, path)
    if not kind and before is not None and (known is None or known.after != before):
        yield f"{path} is not of our making, and is left alone."
        return
    if known is None:
        record.append(Done(str(path), before, text, kind, folders or []))
    else:
        if before != known.after:  # somebody else has changed it: go back no further than to that
            known.before = _without(kind, before or "", known.folders)
        known.after, known.folders = text, [*dict.fromkeys((*known.folders, *(folders or [])))]
    # First what is about to be done: if we are killed, it can be undone.
    _write_record(machine, record)
    _write(path, text, mode)
    yield f"Wrote {path}." if before is None else f"Changed {path}."


def _known(record: list[Done], path: Path) -> Done | None:
    return next((done for done in record if done.path == str(path)), None)


def _undo(path: Path, done: Done) -> str:
    now = _read(path)
    if now is None:
        return f"{path} is gone already."
    wanted = done.before
    if now != done.after:
        wanted = _without(done.kind, now, done.folders)
        if wanted == now:
            return f"{path} was changed by somebody else, and is left alone."
    if wanted is None:
        path.unlink()
        return f"Removed {path}."
    _write(path, wanted)
    return f"Took our words out of {path}."


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


def _read_record(machine: Machine) -> list[Done]:
    text = _read(machine.record)
    return [] if text is None else msgspec.json.decode(text, type=list[Done])


def _write_record(machine: Machine, record: list[Done]) -> None:
    if record:
        _write(machine.record, msgspec.json.encode(record).decode())
    else:
        machine.record.unlink(missing_ok=True)


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Whole or not at all; who may read it stays as it was."""
    path = path.resolve()  # a link into somebody's collection of settings stays one
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        mode = path.stat().st_mode & 0o7777
    new = path.with_name(f".{path.name}.icloudfs")
    new.write_text(text, "utf-8", "surrogateescape")
    new.chmod(mode)
    new.rename(path)
