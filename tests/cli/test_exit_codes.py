"""Exit codes are part of the interface: distinct, documented, and never changed by accident."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from icloudfs import errors
from icloudfs.errors import IcloudfsError

README = Path(__file__).parents[2] / "README.md"

PUBLISHED = {
    "IcloudfsError": 1,
    "WrongPassword": 3,
    "WrongCode": 4,
    "Offline": 5,
    "WrongRegion": 6,
    "MountPointError": 7,
    "AlreadyRunning": 8,
    "StateTooNew": 9,
    "ConfigError": 10,
    "CacheUnusable": 11,
    "AccountLocked": 12,
    "Throttled": 13,
    "ConsentNeeded": 14,
    "NotSupported": 15,
    "Incomplete": 16,
    "ProtocolError": 17,
    "StateDamaged": 18,
    "ContentError": 19,
    "NoPhotos": 20,
    "WrongClock": 21,
    "LoginNeeded": 78,
}
"""What scripts rely on. Add to it; change nothing."""

_OTHERS = {0, 2, 32}
"""Done; click's own for a wrong command line; and what mount(8) is told instead of any of these."""


def error_classes() -> Iterator[type[IcloudfsError]]:
    for thing in vars(errors).values():
        if isinstance(thing, type) and issubclass(thing, IcloudfsError):
            yield thing


def test_codes_are_those_that_were_published() -> None:
    own = {c.__name__: c.exit_code for c in error_classes() if "exit_code" in vars(c)}

    assert PUBLISHED.items() <= own.items()


def test_no_two_errors_share_a_code() -> None:
    own = [c.exit_code for c in error_classes() if "exit_code" in vars(c)]

    assert len(own) == len(set(own))
    assert not set(own) & _OTHERS
    assert all(0 < code < 126 for code in own)  # what shells use themselves begins there


def test_the_readme_lists_every_code() -> None:
    section = README.read_text().split("## Exit codes", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| *(\d+) *\| *(\S.*?) *\|$", section, re.MULTILINE)

    assert sorted(int(code) for code, _ in rows) == sorted(
        {c.exit_code for c in error_classes()} | _OTHERS
    )


def test_hints_are_sentences() -> None:
    for error in error_classes():
        assert not error.hint or re.fullmatch(r"[A-Z].*[.]", error.hint), error
