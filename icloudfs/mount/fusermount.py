"""fusermount3: the program that mounts and unmounts for ordinary users, and what its complaints mean."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import trio

from icloudfs.errors import MountPointError

NAME = "fusermount3"
DEVICE = Path("/dev/fuse")

_USUAL_PLACES = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
"""mount(8) and systemd start a mount helper without PATH (facts/desktop.md §3.2)."""

_MEANINGS = (
    (
        ("user_allow_other",),
        "Other users may only look in if the system allows it.",
        "Add a line 'user_allow_other' to /etc/fuse.conf, or mount without allow_other.",
    ),
    (
        ("device not found", "No such device", "open /dev/fuse: No such file"),
        "This kernel has no FUSE: /dev/fuse is missing.",
        "Run 'modprobe fuse' as root; in a container, pass the device in (--device /dev/fuse).",
    ),
    (
        ("open /dev/fuse: Permission denied", "open /dev/fuse: Operation not permitted"),
        "/dev/fuse may not be opened.",
        "Let your user read and write it ('chmod 0666 /dev/fuse' as root is what distributions do).",
    ),
    (
        ("exec fusermount3", f"{NAME}: not found"),
        f"The program {NAME} is not installed.",
        "Install the package fuse3.",
    ),
    (
        ("too many FUSE filesystems",),
        "Too many FUSE filesystems are mounted.",
        "Unmount one, or raise mount_max in /etc/fuse.conf.",
    ),
    (
        ("no write access to mountpoint",),
        "You may not mount there: the folder is not yours.",
        "Choose a folder that you own and may write to.",
    ),
    (
        ("mount failed: Operation not permitted", "mount failed: Permission denied"),
        "The system does not allow mounting here.",
        "In a container it takes --cap-add SYS_ADMIN; under systemd, NoNewPrivileges must be off.",
    ),
)
"""What the complaint contains, what it means, what to do."""


def program() -> str | None:
    """Where fusermount3 is, whatever PATH there is; None if it is not installed."""
    return shutil.which(NAME) or shutil.which(NAME, path=_USUAL_PLACES)


async def unmount(path: Path, *, lazy: bool = False) -> str | None:
    """Unmount ``path``; None when it is done, else the complaint. Lazy: at once, even if in use."""
    executable = program()
    if executable is None:
        return f"{NAME}: not found"
    command = [executable, "-u", *(["-z"] if lazy else []), "--", str(path)]
    done = await trio.run_process(
        command, capture_stderr=True, check=False, env=os.environ | _C_LOCALE
    )
    return None if done.returncode == 0 else done.stderr.decode("utf-8", "replace").strip()


_C_LOCALE = {"LC_ALL": "C"}


def meaning(complaint: str) -> MountPointError:
    """The sentence for a person, from what libfuse and fusermount3 wrote."""
    for marks, sentence, hint in _MEANINGS:
        if any(mark in complaint for mark in marks):
            return MountPointError(sentence, hint=hint)
    shown = " ".join(complaint.split()) or "no reason was given"
    return MountPointError(f"The folder could not be mounted: {shown}.")


@contextlib.contextmanager
def complaints() -> Iterator[IO[bytes]]:
    """What libfuse and its child write to standard error meanwhile: they say it nowhere else."""
    with os.fdopen(os.memfd_create("complaints"), "w+b") as kept:
        shown = os.dup(2)
        try:
            os.dup2(kept.fileno(), 2)
            yield kept
        finally:
            os.dup2(shown, 2)
            os.close(shown)
