"""One change of the tree as a system call, and who may make it.

The kernel raises inotify events for what programs do in a mount, and none for what it is told by notices. So
a change that came from iCloud is made once more through the mount, by a process of ours (actor.py), and an
open file manager hears of it as if somebody had done it on this machine (DESIGN §7).

The database holds the new state when that happens. ``Stage`` lets the actor alone see the tree as it was,
and move on step by step: it meets no name that has not been replayed yet, and still meets those that are
gone. Of all that would write, only the very call that is being replayed is accepted, and from the actor only;
everybody else meets a read-only filesystem.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
import pyfuse3

from icloudfs.mountinfo import Mounted
from icloudfs.tree import modes
from icloudfs.tree.changes import Change
from icloudfs.tree.directory import ROOT, Inode
from icloudfs.tree.numbers import is_directory

Entry = tuple[int, bytes]
"""A directory and a name in it."""

Request = tuple[str | int | bytes, ...]
"""A handler's name and what it is asked to change."""


class Step(msgspec.Struct, frozen=True):
    """One system call of the actor's."""

    call: str
    """The name of its function in actor.py."""
    ino: int
    """What comes, goes or changes."""
    path: bytes
    """Of the directory that holds it, below the mount's root; as it is when the step's turn comes."""
    name: bytes
    requests: frozenset[Request]
    """What the call becomes when it arrives at the operations."""
    details: tuple[bytes | int, ...] = ()
    """The rest of that function's arguments."""
    settles: tuple[Change, ...] = ()
    """The changes that the kernel knows of once this is done."""
    moves: tuple[tuple[Entry, int | None], ...] = ()
    """Entries that the actor sees differently from then on, and what they are."""


class Stage:
    """What is being replayed, by whom, and to whom it matters: between the operations and live.py."""

    def __init__(self) -> None:
        self.known: set[int] = {ROOT}
        """Directories that the kernel has looked up: nobody can watch any other. A library has thousands
        at most, so none is ever forgotten."""
        self.generations: dict[int, int] = {}
        """Of directories whose removal was replayed. The kernel never lets anything appear again in a
        directory that it has seen removed while somebody is in there: one that comes back must be
        another one, under the same number."""
        self.mounted: Mounted | None = None
        """The mount, as it was when it was made: something else may lie over it since."""
        self.shown_read_only = False
        """Whether the kernel lets nobody write there but by a way of one's own (showing_read_only.py)."""
        self._actor = 0
        self._step: Step | None = None
        self._accepted = False
        self._before: dict[Entry, int | None] = {}

    # -- for whoever replays -------------------------------------------------------------------------

    @contextmanager
    def showing(self, before: Mapping[Entry, int | None]) -> Iterator[None]:
        """Meanwhile the actor sees these entries, or None where there was none."""
        self._before = dict(before)
        try:
            yield
        finally:
            self._before = {}

    @contextmanager
    def expecting(self, step: Step, actor: int) -> Iterator[None]:
        """Meanwhile accept this step from the process ``actor``."""
        self._step, self._actor, self._accepted = step, actor, False
        try:
            yield
        finally:
            self._step, self._actor = None, 0

    @property
    def accepted(self) -> bool:
        """Whether the call of the step has arrived. A rename of a file to itself does not, for one."""
        return self._accepted

    def move_on(self, step: Step) -> None:
        """Show the actor what has been replayed, or was given up, as it is now."""
        for entry, ino in step.moves:
            if ino is None:
                self._before[entry] = None
            else:
                self._before.pop(entry, None)

    # -- for the operations --------------------------------------------------------------------------

    def is_actor(self, caller: pyfuse3.RequestContext) -> bool:
        """Whether this is the actor, at work. A request's pid is a thread's, and the actor has one."""
        return caller.pid == self._actor and self._step is not None

    def accept(self, caller: pyfuse3.RequestContext, *request: str | int | bytes) -> None:
        """Raise EROFS to everybody but the actor, and to the actor but for what is its turn to do (P8)."""
        if not self.is_actor(caller) or self._step is None or request not in self._step.requests:
            raise pyfuse3.FUSEError(errno.EROFS)
        self._accepted = True
        if request[0] == "rmdir":
            self.generations[self._step.ino] = self.generations.get(self._step.ino, 0) + 1

    def is_before_its_turn(self, parent: int, name: bytes) -> bool:
        """Whether the actor sees this entry differently from everybody else."""
        return (parent, name) in self._before

    def before(self, parent: int, name: bytes) -> int | None:
        """What it sees there."""
        return self._before[parent, name]

    def links_before(self, inode: Inode) -> Inode:
        """As the kernel must know it: it takes one link away by itself when a file loses a name."""
        if self._step is not None and self._step.call == "unlink" and self._step.ino == inode.ino:
            return msgspec.structs.replace(inode, nlink=inode.nlink + 1)
        return inode


def gone(ino: int) -> Inode:
    """What the actor is shown of something that is nowhere any more, so that it can remove it."""
    mode = modes.PRIVATE_DIRECTORY if is_directory(ino) else modes.PRIVATE_FILE
    return Inode(ino, mode, 0, 0, 0, 1)
