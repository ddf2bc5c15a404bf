"""What is mounted where, as the kernel tells it, without touching a mount that may be dead or stuck."""

from __future__ import annotations

from pathlib import Path

from icloudfs.errors import MountPointError
from icloudfs.mountinfo import Mounted, mounts


def mounted_at(path: Path) -> Mounted | None:
    """The topmost mount whose root is ``path`` (absolute), if there is one."""
    found = None
    for mounted in mounts():
        if mounted.path == path:
            found = mounted  # a later line lies above an earlier one
    return found


def mounted_above(path: Path) -> Mounted | None:
    """The topmost mount that holds ``path`` (absolute), not counting one at ``path`` itself."""
    found = None
    for mounted in mounts():
        if mounted.path in path.parents and (
            found is None or len(mounted.path.parts) >= len(found.path.parts)
        ):
            found = mounted
    return found


def all_of_ours() -> list[Mounted]:
    """Every icloudfs mount, dead ones among them."""
    return [mounted for mounted in mounts() if mounted.ours]


def absolute(path: Path) -> Path:
    """``path`` with its directory's links resolved, but never looked at itself: it may hang.

    Raises MountPointError for a relative one in a directory that is gone.
    """
    spelled = in_full(path)
    if spelled.name in ("", ".", ".."):
        return spelled.resolve()
    return spelled.parent.resolve() / spelled.name


def in_full(path: Path) -> Path:
    """``path`` from the root on, as it is spelled. Raises MountPointError as ``absolute`` does."""
    try:
        return path.absolute()
    except FileNotFoundError:
        raise MountPointError(
            f"There is no {path}: the directory where you are has been removed.",
            hint="Name the whole path, or change to another directory.",
        ) from None
