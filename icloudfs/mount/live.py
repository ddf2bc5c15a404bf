"""Live folders: which changes are replayed through the mount (replay.py), in which order, and how many.

Only in directories that the kernel has looked up: nobody can watch any other. What comes and goes in one of
them is a system call each; a name that goes while the same thing comes under another is a rename. It takes
half a millisecond a change, so a first listing must not pay it 100,000 times: a directory in which more
happens than the budget has room for is touched once instead, and the kernel forgets the rest.

Nothing here is needed for the mount to be right: what cannot be replayed, for whatever reason, is told to the
kernel as a plain notice, and whoever watches sees it at the next refresh.
"""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set

import trio

from icloudfs.aside import say
from icloudfs.mount import notices
from icloudfs.mount.acting import Acting
from icloudfs.mount.notices import Notice, forget_entry, forget_inode
from icloudfs.mount.replay import Entry, Stage, Step
from icloudfs.tree.changes import Change, EntryAdded, EntryRemoved, InodeChanged
from icloudfs.tree.directory import ROOT, Directory
from icloudfs.tree.numbers import is_directory

log = logging.getLogger(__name__)

AT_ONCE = 500
"""Changes that may be replayed after a while of silence: a holiday's photos, a quarter of a second."""

A_SECOND = 50
"""Changes a second in the long run: a fortieth of the event loop's time."""

_TRIES = 3
"""Another process may look a new name up just before it is made."""


class Live:
    """Replays the changes of one mount."""

    def __init__(self, directory: Directory, stage: Stage, acting: Acting) -> None:
        self._directory = directory
        self._stage = stage
        self._acting = acting
        self._budget = _Budget()

    async def replay_entries(self, changes: Sequence[Change]) -> Set[Change]:
        """Replay what came, went or moved; those of ``changes`` that the kernel knows of by now."""
        try:
            known = self._stage.known
            if not any(not isinstance(c, InodeChanged) and c.parent in known for c in changes):
                return frozenset()
            plan = _Plan(self._directory, known, self._budget, changes)
            with self._stage.showing(plan.before):
                return await self._perform(list(plan.steps()))
        except Exception as error:
            say(error, "the replay of changes")
            return frozenset()

    async def replay_attributes(self, changes: Sequence[Change]) -> None:
        """Tell watchers which files have other attributes or another content, and which directories
        changed in more ways than they were told. The kernel must have forgotten the old ones."""
        try:
            await self._perform(list(self._touches(changes)))
        except Exception as error:
            say(error, "the replay of changes")

    async def _perform(self, steps: list[Step]) -> Set[Change]:
        settled: set[Change] = set()
        if steps:
            await _send([notice for step in steps for notice in self._needed_by(step)])
        for step in steps:
            if await self._done(step):
                settled.update(step.settles)
            self._stage.move_on(step)
        return settled

    async def _done(self, step: Step) -> bool:
        for _ in range(_TRIES):
            answer = await self._acting.do(step)
            if answer != errno.EEXIST:
                break
            await _send(list(self._needed_by(step)))
        if answer:
            log.debug("%s of %r was not replayed: %s", step.call, step.name, os.strerror(answer))
        return answer == 0 and self._stage.accepted

    def _needed_by(self, step: Step) -> Iterator[Notice]:
        """What the kernel must not know when the step is made: a name that is new, a number of links."""
        for (parent, name), ino in step.moves:
            if ino is not None:
                yield forget_entry(parent, name)
        if step.call == "unlink" and self._directory.getattr(step.ino) is not None:
            yield forget_inode(step.ino, False)

    def _touches(self, changes: Sequence[Change]) -> Iterator[Step]:
        path, known = _Paths(self._directory), self._stage.known
        changed = {
            c.ino: c.content
            for c in changes
            if isinstance(c, InodeChanged) and not c.quiet and not is_directory(c.ino)
        }
        new = {(c.parent, c.name) for c in changes if changed and isinstance(c, EntryAdded)}
        watched = [
            (ino, content, parent, name)
            for ino, content in changed.items()
            for parent, name in self._directory.entries_of(ino)
            if parent in known and (parent, name) not in new
        ]
        crowded = self._budget.crowded(parent for _, _, parent, _ in watched)
        for ino, content, parent, name in watched:
            above = path.of(parent)
            if parent not in crowded and above is not None:
                yield self._rewrite(ino, above, name) if content else _touch(ino, above, name)
        for ino in crowded | self._budget.owed():
            above = path.of(ino)
            if above is not None:
                yield _touch(ino, above, b".")

    def _rewrite(self, ino: int, path: bytes, name: bytes) -> Step:
        inode = self._directory.getattr(ino)
        size = 0 if inode is None else inode.size
        requests = frozenset({("open", ino), ("setattr", ino)})
        return Step("rewrite", ino, path, name, requests, details=(size,))


def _touch(ino: int, path: bytes, name: bytes) -> Step:
    return Step("touch", ino, path, name, frozenset({("setattr", ino)}))


async def _send(batch: list[Notice]) -> None:
    if batch:
        await trio.to_thread.run_sync(notices.send, batch)


class _Budget:
    """How many changes may be replayed now."""

    def __init__(self) -> None:
        self._left = float(AT_ONCE)
        self._when = trio.current_time()
        self._owed: set[int] = set()

    def crowded(self, directories: Iterable[int]) -> set[int]:
        """Directories, named once a change, in which too much happens; the others are paid for."""
        now = trio.current_time()
        self._left = min(self._left + (now - self._when) * A_SECOND, AT_ONCE)
        self._when = now
        crowded = set()
        for directory, changes in sorted(Counter(directories).items(), key=lambda item: item[1]):
            if changes <= self._left:
                self._left -= changes
            else:
                crowded.add(directory)
        return crowded

    def owe(self, directories: Set[int]) -> None:
        """Remember directories that have to be touched."""
        self._owed |= directories

    def owed(self) -> set[int]:
        owed, self._owed = self._owed, set()
        return owed


class _Paths:
    """Where directories are for the actor, who sees them where they were until their step is done."""

    def __init__(self, directory: Directory, before: dict[int, Entry] | None = None) -> None:
        self._directory = directory
        self._before = before or {}

    def of(self, ino: int) -> bytes | None:
        """Below the mount's root; None if it is nowhere."""
        names = []
        while ino != ROOT:
            place = self._before.get(ino)
            if place is None:
                place = next(iter(self._directory.entries_of(ino)), None)
            if place is None:
                return None
            ino, name = place
            names.append(name)
        return b"/".join(reversed(names))

    def moved(self, ino: int) -> None:
        """It is where the database says."""
        self._before.pop(ino, None)


class _Plan:
    """The steps for what came and went.

    Files go first; then everything comes or moves, directories before what is in them; directories that have
    nothing left in them go last.
    """

    def __init__(
        self, directory: Directory, known: Set[int], budget: _Budget, changes: Sequence[Change]
    ) -> None:
        self._directory = directory
        watched = [c for c in changes if not isinstance(c, InodeChanged) and c.parent in known]
        crowded = budget.crowded(c.parent for c in watched)
        budget.owe(crowded)
        self._known = known - crowded if crowded else known
        self._removed = {(c.parent, c.name): c for c in changes if isinstance(c, EntryRemoved)}
        added = [c for c in changes if isinstance(c, EntryAdded) and self._concerns(c)]
        self._renamed = dict(self._renames(added))
        renamed, elsewhere = set(self._renamed.values()), self._elsewhere()
        self._added = [
            c for c in added if c in renamed or (c.parent in self._known and c.ino not in elsewhere)
        ]
        self._going = [
            c
            for entry, c in self._removed.items()
            if c.parent in self._known and entry not in self._renamed and c.ino not in elsewhere
        ]
        self._directories = {
            c.ino: entry
            for entry, c in self._removed.items()
            if is_directory(c.ino) and c.ino not in elsewhere
        }
        self._paths = _Paths(directory, dict(self._directories))

    @property
    def before(self) -> dict[Entry, int | None]:
        """What the actor sees where the database has the new state already."""
        before: dict[Entry, int | None] = {(c.parent, c.name): None for c in self._added}
        before.update({entry: ino for ino, entry in self._directories.items()})
        before.update({(c.parent, c.name): c.ino for c in self._going})
        before.update({entry: self._removed[entry].ino for entry in self._renamed})
        return before

    def steps(self) -> Iterator[Step]:
        arrivals = {(c.parent, c.name): entry for entry, c in self._renamed.items()}
        yield from self._removals(directories=False)
        for change in self._added:
            source = arrivals.get((change.parent, change.name))
            path = self._paths.of(change.parent)
            if path is None:
                continue
            if source is None:
                yield _addition(change, path)
            else:
                yield from self._rename(self._removed[source], change, path)
        yield from self._removals(directories=True)

    def _concerns(self, added: EntryAdded) -> bool:
        return added.parent in self._known or is_directory(added.ino)

    def _elsewhere(self) -> set[int]:
        """Directories that left a place, but for another one and not by a rename: they must not be
        removed, and cannot be made."""
        return {
            c.ino
            for entry, c in self._removed.items()
            if is_directory(c.ino)
            and entry not in self._renamed
            and self._directory.getattr(c.ino) is not None
        }

    def _renames(self, added: Sequence[EntryAdded]) -> Iterator[tuple[Entry, EntryAdded]]:
        """Each entry that became another one. Names that change hands are not renamed: the kernel would
        take it for a replacement."""
        leaving: dict[int, list[EntryRemoved]] = {}
        taken = {(c.parent, c.name) for c in added}
        for entry, gone in self._removed.items():
            if gone.parent in self._known and entry not in taken:
                leaving.setdefault(gone.ino, []).append(gone)
        for change in added:
            candidates = leaving.get(change.ino)
            if not candidates or (change.parent, change.name) in self._removed:
                continue
            here = [c for c in candidates if c.parent == change.parent]
            chosen = here[0] if here else candidates[0]
            if here or is_directory(change.ino) or not self._is_private(change.parent):
                candidates.remove(chosen)
                yield (chosen.parent, chosen.name), change

    def _is_private(self, directory: int) -> bool:
        """A name in there has no lifetime of its own; one that is moved in would keep it (access.py)."""
        inode = self._directory.getattr(directory)
        return inode is None or inode.mode & 0o111 != 0o111

    def _removals(self, *, directories: bool) -> Iterator[Step]:
        for change in self._going:
            path = self._paths.of(change.parent)
            if is_directory(change.ino) == directories and path is not None:
                yield _removal(change, path)

    def _rename(self, gone: EntryRemoved, come: EntryAdded, to_path: bytes) -> Iterator[Step]:
        path = self._paths.of(gone.parent)
        if path is None:
            return
        yield Step(
            "rename",
            come.ino,
            path,
            gone.name,
            frozenset({("rename", gone.parent, gone.name, come.parent, come.name, 0)}),
            details=(to_path, come.name),
            settles=(gone, come),
            moves=(((gone.parent, gone.name), None), ((come.parent, come.name), come.ino)),
        )
        self._paths.moved(come.ino)


def _addition(change: EntryAdded, path: bytes) -> Step:
    return _of_one(change, path, "mkdir" if is_directory(change.ino) else "mknod", change.ino)


def _removal(change: EntryRemoved, path: bytes) -> Step:
    return _of_one(change, path, "rmdir" if is_directory(change.ino) else "unlink", None)


def _of_one(change: EntryAdded | EntryRemoved, path: bytes, call: str, becomes: int | None) -> Step:
    """For one entry, which the actor sees as ``becomes`` from then on."""
    return Step(
        call,
        change.ino,
        path,
        change.name,
        frozenset({(call, change.parent, change.name)}),
        settles=(change,),
        moves=(((change.parent, change.name), becomes),),
    )
