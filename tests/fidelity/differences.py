"""Differences between a client and the mount, and why they may be.

A finding that no entry of a table explains fails, and so does an entry that explains nothing: then what it
excuses is no longer true.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from tests.fidelity.mounted import (
    Mounted,
    Shown,
)

Json = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """One thing that another program and the mount do not agree on."""

    about: str
    theirs: Any
    ours: Any


@dataclass(frozen=True)
class Difference:
    """A difference that may be."""

    what: str
    holds: Callable[[Finding], bool]
    reason: str
    reference: str


def assert_explained(found: Iterable[Finding], table: Sequence[Difference]) -> None:
    """Every finding is explained by the table, and every entry of the table is needed."""
    unexplained, needed = [], set()
    for finding in found:
        entry = next((one for one in table if one.holds(finding)), None)
        if entry is None:
            unexplained.append(finding)
        else:
            needed.add(entry.what)
    problems = [f"{f.about}: theirs {f.theirs!r}, ours {f.ours!r}" for f in unexplained]
    problems += [f"not a difference any more: {e.what}" for e in table if e.what not in needed]
    assert not problems, "\n" + "\n".join(problems)


@dataclass(frozen=True)
class Step:
    """One reason why a name differs: what it makes of the other program's name, on the way to ours."""

    what: str
    apply: Callable[[str, Shown, Snapshot], str]
    reason: str
    reference: str


class Snapshot:
    """The mount as it is now: every file, by directory, by photo and by content."""

    def __init__(self, mounted: Mounted) -> None:
        self.files = mounted.files()
        self.directories = mounted.directories()
        self.by_rendition: dict[tuple[str, str], list[Shown]] = defaultdict(list)
        self._in: dict[str, list[Shown]] = defaultdict(list)
        for shown in self.files:
            self.by_rendition[shown.asset, shown.rendition].append(shown)
            self._in[shown.directory].append(shown)
        self.sha256 = {
            inode: hashlib.sha256(mounted.read(shown)).hexdigest()
            for inode, shown in {shown.inode: shown for shown in self.files}.items()
        }
        """Of what a program reads through the mount, by inode."""

    def below(self, directory: str, zone: str = "") -> set[str]:
        """The photos of a directory and those below it, of one library if it is named."""
        return {
            shown.asset
            for shown in self.files
            if PurePosixPath(directory) in shown.path.parents and zone in ("", shown.zone)
        }

    def members(self, directory: str) -> set[str] | None:
        """The photos that are right in this directory; None if there is no such directory."""
        if directory not in self.directories:
            return None
        return {shown.asset for shown in self._in[directory]}

    def has_namesake(self, shown: Shown, stem: str) -> bool:
        """Whether another photo in its directory has the plain name, whatever the rendition."""
        return _is_named(self._in[shown.directory], shown, stem)

    def has_namesake_anywhere(self, shown: Shown, stem: str) -> bool:
        """Whether another photo in the whole mount has it."""
        return _is_named(self.files, shown, stem)


def _is_named(files: Iterable[Shown], shown: Shown, stem: str) -> bool:
    return any(
        other.asset != shown.asset and other.path.stem.casefold() == stem.casefold()
        for other in files
    )


def assert_named(
    pairs: Iterable[tuple[str, Shown]], steps: Sequence[Step], snapshot: Snapshot
) -> None:
    """Their names become ours by these steps, in this order, and by no fewer."""
    problems, needed = [], set()
    for theirs, shown in pairs:
        name = theirs
        for step in steps:
            changed = step.apply(name, shown, snapshot)
            if changed != name:
                needed.add(step.what)
            name = changed
        if name != shown.name:
            problems.append(f"{shown.directory}: theirs {theirs!r}, ours {shown.name!r}")
    problems += [f"not a difference any more: {s.what}" for s in steps if s.what not in needed]
    assert not problems, "\n" + "\n".join(problems)


# -- the naming rule, once more in other words -----------------------------------------------------


def _without_forbidden(name: str, shown: Shown, snapshot: Snapshot) -> str:
    return "".join("_" if c == "/" or unicodedata.category(c) == "Cc" else c for c in name)


def _with_plain_blanks(name: str, shown: Shown, snapshot: Snapshot) -> str:
    return name.replace("\u00a0", " ").replace("\u202f", " ")


def _composed(name: str, shown: Shown, snapshot: Snapshot) -> str:
    return unicodedata.normalize("NFC", name)


def _without_trailing_dots(name: str, shown: Shown, snapshot: Snapshot) -> str:
    stem, extension = split(name.rstrip(". "))
    return stem.rstrip(". ") + extension


def _cut_to_255_bytes(name: str, shown: Shown, snapshot: Snapshot) -> str:
    stem, extension = split(name)
    room = 255 - len(extension.encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(". ") + extension


def _told_from_its_namesake(name: str, shown: Shown, snapshot: Snapshot) -> str:
    has_one = snapshot.has_namesake(shown, split(name)[0])
    return shown.name if has_one and _is_suffixed(name, shown) else name


def _told_from_a_namesake_elsewhere(name: str, shown: Shown, snapshot: Snapshot) -> str:
    has_one = shown.view not in KEPT_APART and snapshot.has_namesake_anywhere(shown, split(name)[0])
    return shown.name if has_one and _is_suffixed(name, shown) else name


KEPT_APART = ("Library", "Shared Library", "Albums", "Bursts")
"""Where namesakes are judged directory by directory."""


def _is_suffixed(name: str, shown: Shown) -> bool:
    stem, extension = map(re.escape, split(name))
    return re.fullmatch(f"{stem}_[a-z2-7]{{7}}{extension}", shown.name) is not None


def split(name: str) -> tuple[str, str]:
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem else (name, "")


NAMING_RULE = (
    Step(
        "slashes and control characters",
        _without_forbidden,
        "no file can be called so; icloudfs writes _, as kei does",
        "facts/peers.md §3.2: invalid chars → _; tests/tree/test_names.py",
    ),
    Step(
        "blanks of macOS",
        _with_plain_blanks,
        "no keyboard has the narrow and the fixed blank of screenshots",
        "facts/peers.md §3.2: AM/PM whitespace; tests/tree/test_names.py",
    ),
    Step(
        "decomposed letters",
        _composed,
        "everything else on Linux writes NFC, rclone too",
        "facts/peers.md §5: names NFC",
    ),
    Step(
        "dots at the end",
        _without_trailing_dots,
        "programs that split a name find no extension",
        "tests/tree/test_names.py; facts/peers.md §4.8",
    ),
    Step(
        "longer than a name may be",
        _cut_to_255_bytes,
        "Linux allows 255 bytes",
        "facts/peers.md §3.2: 255-byte limit keeping ext",
    ),
    Step(
        "namesakes",
        _told_from_its_namesake,
        "the first in a directory keeps its name, a later one has a suffix for ever",
        "SEMANTICS Names; facts/peers.md §4.8",
    ),
    Step(
        "namesakes in folders of one kind",
        _told_from_a_namesake_elsewhere,
        "a photo enters and leaves these at any time, so namesakes anywhere count",
        "SEMANTICS Names: 'judged in the whole library'",
    ),
)
"""From what iCloud calls a photo to what the mount does."""
