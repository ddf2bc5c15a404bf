"""Files that are on this machine already become the photos that they are: ``import-existing``.

Matched by content: the size first, so that only what can be a photo is read, then Apple's checksum, so
that names and folders do not matter. Each file is read once in its life: what was found is remembered,
also of files that match nothing, and also by a run that only looks.

A run goes over the directory twice. The first time costs a look at each file's size and tells how much
there is to read; the second reads, a portion at a time. After each portion what was read is in the
database, and what matched is adopted, in one transaction each: a run that is cut off goes on there.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Literal

import apsw
import msgspec
import trio

from icloudfs.cache.adopting import Adopted
from icloudfs.cache.announced import Announced
from icloudfs.cache.bringing import Arrival, How, check_that_it_can
from icloudfs.cache.cache import Cache
from icloudfs.cache.echo import directory_of
from icloudfs.cache.filesystems import answer_from_memory
from icloudfs.cache.hashed import Hashed, hashed, recall, remember
from icloudfs.cache.holding import identity
from icloudfs.cache.opening import open_file
from icloudfs.cache.parallel import Meter, portions, spread
from icloudfs.cache.verify import digest
from icloudfs.cache.walking import Seen, Walk, shown
from icloudfs.progress import Progress, Report
from icloudfs.state import contents
from icloudfs.state.database import connect

Match = Literal["content", "name-size"]
"""name-size believes a name and a size: quick, and proves nothing about the content."""

MOST_LISTED = 50_000
"""Paths of each kind that are listed; all are counted."""

_PAGE = 1000
"""Files that are looked at together."""

_PORTION = 1 << 30
"""Bytes read between two records: about a second's work of one core, and what a kill costs."""


class ImportResult(msgspec.Struct):
    """What became of the files of a directory. Sizes in bytes."""

    scanned: int = 0
    """Regular files."""
    candidates: int = 0
    """Files of a size that some content has."""
    hashed: int = 0
    """Files that were read; the others were known from before."""
    hashed_bytes: int = 0
    matched: int = 0
    """Contents that are here now; with ``dry_run``, that would be."""
    already: int = 0
    """Files whose content was here before, or came with another file, or is just being downloaded."""
    adopted_bytes: int = 0
    """Of what matched."""
    proven: bool = True
    """Whether a match means the same content. By name and size it does not."""
    unmatched: list[str] = []
    unmatched_count: int = 0
    uncheckable: int = 0
    """Of the unmatched, those that may be a content after all: one of their size has a checksum of a type
    that cannot be checked."""
    library_complete: bool = True
    """False: the library was not listed to its end, so what matches nothing may be a photo of it."""
    errors: list[str] = []
    """What could not be read or used, with the reason."""
    errors_count: int = 0


async def import_existing(
    cache: Cache,
    directory: Path,
    *,
    match: Match,
    how: How,
    dry_run: bool,
    report: Report,
) -> ImportResult:
    """Adopt what lies below ``directory`` and is a photo of the library.

    Raises IcloudfsError for a directory that cannot be read or is our own mount, CannotShare before
    anything is read if the file systems do not allow ``how``, and DiskFull when the cache has no more
    room; what was adopted until then stays.
    """
    if not dry_run:
        await trio.to_thread.run_sync(check_that_it_can, how, directory, cache.places)
    connection = await trio.to_thread.run_sync(partial(connect, cache.database.path, write=False))
    try:
        run = _Import(cache, directory, Announced(connection), connection, match, how, dry_run)
        return await run.run(report)
    finally:
        connection.close()


class _Sifted(msgspec.Struct):
    """A page of files, by what is to be done with them."""

    scanned: int
    strangers: list[Seen] = []
    """No content has their size."""
    known: list[Hashed] = []
    unread: list[Seen] = []
    named: list[tuple[Seen, str]] = []
    """With the checksum that their name and size stand for."""


class _Match(msgspec.Struct):
    """A file that is one content, or more than one if iCloud announced it in several ways."""

    seen: Seen
    checksums: list[str]
    sha256: str = ""


class _Import:
    def __init__(
        self,
        cache: Cache,
        directory: Path,
        announced: Announced,
        connection: apsw.Connection,
        match: Match,
        how: How,
        dry_run: bool,
    ) -> None:
        """``connection`` is used in threads only, and never by two at once."""
        self._cache = cache
        self._directory = directory
        self._announced = announced
        self._connection = connection
        self._match = match
        self._how = how
        self._dry_run = dry_run
        self._would_match: set[str] = set()
        self._result = ImportResult(proven=match == "content")

    async def run(self, report: Report) -> ImportResult:
        to_read = await self._measure(report)
        what = "Reading" if self._match == "content" else "Matching names and sizes"
        meter = Meter(report, what, to_read, "bytes")

        async def settle(page: _Sifted) -> None:
            await self._settle_page(page, meter)
            meter.tell()

        for error in await self._go_over(settle):
            self._note_error(error)
        return self._result

    async def _measure(self, report: Report) -> int:
        """How many bytes there are to read."""
        to_read = scanned = 0

        async def count(page: _Sifted) -> None:
            nonlocal to_read, scanned
            scanned += page.scanned
            to_read += sum(seen.size for seen in page.unread)
            report(Progress("looking through the directory", scanned))

        await self._go_over(count)
        return to_read

    # -- the directory ---------------------------------------------------------------------------

    async def _go_over(self, deal_with: Callable[[_Sifted], Awaitable[None]]) -> list[str]:
        """All files of the directory, page by page; what could not be read, with the reason."""
        passed_over = [self._cache.places.directory]
        refused: list[str] = []
        walk = await trio.to_thread.run_sync(Walk, self._directory, passed_over)
        try:
            while page := await trio.to_thread.run_sync(walk.next, _PAGE):
                theirs, objections = await self._without_our_own(page)
                refused += objections
                await deal_with(await trio.to_thread.run_sync(self._sift, theirs))
            return walk.unreadable + list(dict.fromkeys(refused))
        finally:
            walk.close()

    async def _without_our_own(self, page: list[Seen]) -> tuple[list[Seen], list[str]]:
        """The files that somebody else has, and what is said of the directories that our own mount serves."""
        directories = {directory_of(seen.path) for seen in page}
        objections = {
            each: f"{shown(each)}: the mounted library is shown there"
            for each in await self._cache.echo.ours(directories)
        }
        if self._how == "use":
            objections |= {
                each: f"{shown(each)}: it may be the mounted library that is shown there; --copy takes it"
                for each in answer_from_memory(directories - objections.keys())
            }
        theirs = [seen for seen in page if directory_of(seen.path) not in objections]
        return theirs, sorted(objections.values())

    def _sift(self, page: list[Seen]) -> _Sifted:
        sifted = _Sifted(len(page))
        for seen in page:
            if not seen.size or not self._announced.has_size(seen.size):
                sifted.strangers.append(seen)
            elif self._match == "name-size":
                self._sift_by_name(seen, sifted)
            elif (known := recall(self._connection, seen)) is not None:
                sifted.known.append(known)
            else:
                sifted.unread.append(seen)
        return sifted

    def _sift_by_name(self, seen: Seen, sifted: _Sifted) -> None:
        name = os.fsdecode(seen.path).rpartition("/")[2]
        matches = self._announced.with_name(seen.size, name)
        if len(matches) == 1:
            sifted.named.append((seen, matches.pop()))
        else:  # two photos that a name and a size cannot tell apart are not told apart by guessing
            sifted.strangers.append(seen)

    def _note_error(self, error: str) -> None:
        self._result.errors_count += 1
        if len(self._result.errors) < MOST_LISTED:
            self._result.errors.append(error)

    # -- a page ----------------------------------------------------------------------------------

    async def _settle_page(self, page: _Sifted, meter: Meter) -> None:
        result = self._result
        result.scanned += page.scanned
        result.candidates += len(page.known) + len(page.unread) + len(page.named)
        for stranger in page.strangers:
            self._note_unmatched(stranger)
        await self._take([_Match(seen, [checksum]) for seen, checksum in page.named])
        await self._settle(page.known)
        for portion in portions(page.unread, lambda seen: seen.size, _PORTION, _PAGE):
            await self._settle(await self._read(portion, meter))

    def _note_unmatched(self, seen: Seen) -> None:
        self._result.unmatched_count += 1
        if len(self._result.unmatched) < MOST_LISTED:
            self._result.unmatched.append(seen.shown)

    async def _read(self, portion: list[Seen], meter: Meter) -> list[Hashed]:
        """Read the files, and remember what they are before anything else is done."""
        outcomes = await spread(partial(_read, count=meter.add), portion, meter)
        files = [outcome for outcome in outcomes if isinstance(outcome, Hashed)]
        for outcome in outcomes:
            if isinstance(outcome, str):
                self._note_error(outcome)
        self._result.hashed += len(files)
        self._result.hashed_bytes += sum(file.seen.size for file in files)
        if files:
            await self._cache.database.write(partial(remember, files=files))
        return files

    async def _settle(self, files: list[Hashed]) -> None:
        """What is a content is adopted; what is none is listed."""
        if not files:
            return
        matches, others = await trio.to_thread.run_sync(self._find, files)
        for file, may_be_one in others:
            self._result.uncheckable += may_be_one
            self._note_unmatched(file.seen)
        await self._take(matches)

    def _find(self, files: list[Hashed]) -> tuple[list[_Match], list[tuple[Hashed, bool]]]:
        """The files that are contents, and the others, with whether they might be one after all."""
        matches, others = [], []
        for file in files:
            size = file.seen.size
            if checksums := self._announced.with_digest(size, file.salted_sha1):
                matches.append(_Match(file.seen, checksums, file.sha256))
            else:
                others.append((file, self._announced.is_uncheckable(size)))
        return matches, others

    # -- what matched ----------------------------------------------------------------------------

    async def _take(self, matches: list[_Match]) -> None:
        if self._dry_run:
            self._pretend(matches)
            return
        arrivals: list[Arrival] = []
        for match in matches:
            arrivals += self._arrivals(match)
            await trio.lowlevel.checkpoint()
        if arrivals:
            self._note_adopted(await self._cache.adopt(arrivals, self._how))

    def _arrivals(self, match: _Match) -> list[Arrival]:
        if self._how == "use" and not _is_utf8(match.seen.path):
            self._note_error(
                f"{match.seen.shown}: its name is not UTF-8; --copy or --link takes it"
            )
            return []
        files = [self._cache.tree.file_of(checksum) for checksum in match.checksums]
        return [
            Arrival(file, match.seen.path, match.seen.identity, match.sha256, self._result.proven)
            for file in files
            if file is not None
        ]

    def _note_adopted(self, adopted: Adopted) -> None:
        result = self._result
        result.matched += len(adopted.taken)
        result.adopted_bytes += sum(arrival.file.size for arrival in adopted.taken)
        result.already += len(adopted.left)
        for arrival, reason in adopted.refused:
            self._note_error(f"{arrival.path.decode('utf-8', 'replace')}: {reason}")

    def _pretend(self, matches: list[_Match]) -> None:
        """Count what would be adopted. Only here are the matches of a whole run in memory."""
        for match in matches:
            for checksum in match.checksums:
                row = contents.get(self._cache.database.reader, checksum)
                is_here = row is not None and row.status == "downloaded"
                if is_here or checksum in self._would_match:
                    self._result.already += 1
                else:
                    self._would_match.add(checksum)
                    self._result.matched += 1
                    self._result.adopted_bytes += match.seen.size


def _read(seen: Seen, count: Callable[[int], None]) -> Hashed | str:
    """In a thread: the digests of a file, or why it has none."""
    try:
        fd = open_file(seen.path, os.O_RDONLY)
        try:
            if identity(os.fstat(fd)) == seen.identity:
                found = digest(fd, count)
                if identity(os.fstat(fd)) == seen.identity:
                    return hashed(seen, found)
        finally:
            os.close(fd)
    except OSError as error:
        return f"{seen.shown}: {error.strerror}"
    return f"{seen.shown}: it was written to meanwhile"


def _is_utf8(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True
