"""What we put into places that are not ours, a desktop or systemd, and how it is taken out again.

What was done is written down, with the texts before and after, in the order in which it was done. A file that
nobody has touched since becomes what it was, byte for byte; from one that was changed only our own words are
taken, and where that cannot be told the file is left alone, and said to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from icloudfs import pathtext


class Done(msgspec.Struct):
    """One file that was written, or one link that was made."""

    path: str
    before: str | None
    """None: it was not there."""
    after: str
    kind: str = ""
    """How to take out our words, if somebody else has written to it since."""
    folders: list[str] = []
    is_link: bool = False
    """Then ``before`` and ``after`` are where it leads."""


Without = Callable[[str, str, Sequence[str]], str]
"""A text of one kind without our words about some folders."""


def _as_it_is(kind: str, text: str, folders: Sequence[str]) -> str:  # noqa: ARG001
    return text


class Traces:
    """All that one command has left behind, kept in ``record``."""

    def __init__(self, record: Path, without: Without = _as_it_is) -> None:
        self._record = record
        self._without = without

    def of(self, path: Path) -> Done | None:
        """What we have done to ``path``."""
        return _of(self._read_record(), path)

    def put(
        self,
        path: Path,
        text: str,
        *,
        mode: int = 0o644,
        kind: str = "",
        folders: list[str] | None = None,
    ) -> Iterator[str]:
        """Write a file, if it is not so already; a line about it. Without a ``kind`` the whole of it must be
        ours: somebody else's is left alone. Raises OSError."""
        before = read(path)
        if before == text:
            yield f"{path} is as it should be already."
            return
        record = self._read_record()
        known = _of(record, path)
        if not kind and before is not None and (known is None or known.after != before):
            yield f"{path} is not of our making, and is left alone."
            return
        if known is None:
            record.append(Done(str(path), before, text, kind, folders or []))
        else:
            if (
                before != known.after
            ):  # somebody else has changed it: go back no further than to that
                known.before = self._without(kind, before or "", known.folders)
            known.after, known.folders = text, [*dict.fromkeys((*known.folders, *(folders or [])))]
        # First what is about to be done: if we are killed, it can be undone.
        self._write_record(record)
        _write(path, text, mode)
        yield f"Wrote {path}." if before is None else f"Changed {path}."

    def link(self, path: Path, target: Path) -> Iterator[str]:
        """Make a link, if nothing is there; a line about it. Raises OSError."""
        before = str(path.readlink()) if path.is_symlink() else None
        if before == str(target):
            yield f"{path} is as it should be already."
            return
        record = self._read_record()
        known = _of(record, path)
        if (before is not None or path.exists()) and (known is None or known.after != before):
            yield f"{path} is not of our making, and is left alone."
            return
        if known is None:
            record.append(Done(str(path), None, str(target), is_link=True))
        else:
            known.after = str(target)
        self._write_record(record)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        yield f"Linked {path} to {target}."

    def undo(self, again: str) -> Iterator[str]:
        """Undo everything, the last thing first; a line about each. ``again`` is what root is to run for what
        only root can undo. Raises OSError."""
        record = self._read_record()
        if not record:
            yield "Nothing was installed."
        kept: list[Done] = []
        for done in reversed(record):
            path = Path(done.path)
            try:
                yield self._undo_link(path, done) if done.is_link else self._undo(path, done)
            except PermissionError:
                kept.insert(0, done)
                yield f"As root, run: {again}  ({path} is not yours)"
        self._write_record(kept)

    def _undo(self, path: Path, done: Done) -> str:
        now = read(path)
        if now is None:
            return f"{path} is gone already."
        wanted = done.before
        if now != done.after:
            wanted = self._without(done.kind, now, done.folders)
            if wanted == now:
                return f"{path} was changed by somebody else, and is left alone."
        if wanted is None:
            path.unlink()
            return f"Removed {path}."
        _write(path, wanted)
        return f"Took our words out of {path}."

    def _undo_link(self, path: Path, done: Done) -> str:
        if not path.is_symlink():
            return f"{path} is gone already."
        if str(path.readlink()) != done.after:
            return f"{path} was changed by somebody else, and is left alone."
        path.unlink()
        return f"Removed {path}."

    def _read_record(self) -> list[Done]:
        text = read(self._record)
        done: list[Done] = [] if text is None else pathtext.decoded(text.encode(), list[Done])
        return done

    def _write_record(self, record: list[Done]) -> None:
        if record:
            _write(self._record, pathtext.encoded(record).decode())
        else:
            self._record.unlink(missing_ok=True)


def read(path: Path) -> str | None:
    """A file's text, in which every byte can be found again; None if it is not there."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _of(record: list[Done], path: Path) -> Done | None:
    return next((done for done in record if done.path == str(path)), None)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Whole or not at all; who may read it stays as it was."""
    path = path.resolve()  # a link into somebody's collection of settings stays one
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        mode = path.stat().st_mode & 0o7777
    new = path.with_name(f".{path.name}.icloudfs")
    new.write_bytes(text.encode("utf-8", "surrogateescape"))
    new.chmod(mode)
    new.rename(path)
