"""Whether what is downloaded is still there and still right: ``verify``.

Contents are taken a portion at a time, by checksum; files are looked at in threads. A bad one is looked
at again on the event loop, where nothing can come between, before it is called bad: it may have been
evicted or fetched anew meanwhile. To repair is to declare it pending and fetch it as a reader would.

A run with checksums that is cut off goes on where it was, for a day: ``metadata`` keeps the last
checksum that was dealt with, what was found so far, and which contents were bad, to be looked at again.

What counts as verified was read in this run and agrees with Apple's checksum; nothing else does.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

import apsw
import msgspec
import trio

from icloudfs.cache.cache import Cache
from icloudfs.cache.holding import identity
from icloudfs.cache.judging import Judged, look_at, never_proven, read
from icloudfs.cache.orphans import Orphan, OrphanSearch, has_row
from icloudfs.cache.parallel import Meter, portions, spread
from icloudfs.errors import IcloudfsError
from icloudfs.progress import Report
from icloudfs.state import contents, metadata
from icloudfs.state.contents import Content
from icloudfs.state.database import connect
from icloudfs.tree.directory import File

MOST_LISTED = 10_000
"""Problems that are listed; all are counted."""

PROGRESS = "verify_progress"
"""In ``metadata``."""

_GOES_ON_WITHIN = 86_400.0
"""Seconds after which what was verified has to be verified again."""

_PAGE = 500
"""Contents that are looked at together."""

_PORTION = 1 << 30
"""Bytes that are read between two notes of the progress."""

_CONNECTIONS = 4
"""Bad contents that are fetched at once."""


class Problem(msgspec.Struct):
    """A content that is not as it should be, or a file that should not be there."""

    kind: Literal["missing", "wrong-size", "corrupt", "orphan"]
    checksum: str
    filename: str
    """As the mount shows it; of an orphan, that of the file."""
    paths: list[str]
    """Where the mount shows it."""
    local_path: str
    reason: str
    repaired: bool = False


class VerifyResult(msgspec.Struct):
    """What was found. Problems that were repaired count too, and in ``repaired`` as well."""

    checked: int = 0
    """Downloaded contents that were looked at."""
    bytes: int = 0
    """Their size."""
    verified: int = 0
    """Read, and what Apple's checksum says. 0 without ``checksums``."""
    unverifiable: int = 0
    """Contents that are there, and of which nobody can say that, or nobody has yet."""
    unverifiable_reasons: dict[str, int] = {}
    missing: int = 0
    wrong_size: int = 0
    corrupt: int = 0
    orphans: int = 0
    repaired: int = 0
    problems: list[Problem] = []
    resumed: bool = False
    """Whether a run that was cut off was taken up, and its figures with it."""
    ok: bool = True
    """Whether nothing is wrong, or nothing any more."""


class _Bad(msgspec.Struct):
    """A content that was not repaired."""

    kind: Literal["missing", "wrong-size", "corrupt", "orphan"]
    size: int


class _Progress(msgspec.Struct):
    """Of a run with checksums."""

    after: str = ""
    when: float = 0.0
    """Seconds since the epoch."""
    result: VerifyResult = msgspec.field(default_factory=VerifyResult)
    bad: dict[str, _Bad] = {}
    """By checksum. Looked at again when the run is taken up; not in the ``result`` that is kept."""


async def verify(cache: Cache, *, checksums: bool, repair: bool, report: Report) -> VerifyResult:
    """Look at every downloaded content, and for files that belong to none.

    ``checksums``: read all of it. ``repair``: fetch again what is bad, remove orphans or take them for
    the content that they are. What cannot be fetched now is pending, and not repaired.
    """
    async with cache.auditing:
        connection = await trio.to_thread.run_sync(
            partial(connect, cache.database.path, write=False)
        )
        try:
            audit = _Audit(cache, connection, checksums=checksums, repair=repair, report=report)
            return await audit.run()
        finally:
            connection.close()


class _Audit:
    def __init__(
        self,
        cache: Cache,
        connection: apsw.Connection,
        *,
        checksums: bool,
        repair: bool,
        report: Report,
    ) -> None:
        """``connection`` is used in threads only, and never by two at once."""
        self._cache = cache
        self._connection = connection
        self._checksums = checksums
        self._repair = repair
        self._report = report
        self._progress = _Progress()

    async def run(self) -> VerifyResult:
        again = self._take_up() if self._checksums else []
        meter = await self._new_meter()
        await self._look_again(again, meter)
        while page := await self._next_page():
            for portion in self._portions(page):
                await self._check(portion, meter)
                self._progress.after = portion[-1].checksum
                if self._checksums:
                    await self._keep_progress()
        await self._find_orphans()
        if self._checksums:
            await self._cache.database.write(partial(metadata.remove, key=PROGRESS))
        return self._final_result()

    @property
    def _result(self) -> VerifyResult:
        return self._progress.result

    def _final_result(self) -> VerifyResult:
        result = self._result
        found = result.missing + result.wrong_size + result.corrupt + result.orphans
        result.ok = found == result.repaired
        return result

    async def _new_meter(self) -> Meter:
        count, size = await trio.to_thread.run_sync(
            contents.downloaded_after, self._connection, self._progress.after
        )
        if self._checksums:
            return Meter(self._report, "verifying", size, "bytes")
        return Meter(self._report, "looking for files", count, "items")

    async def _next_page(self) -> list[Content]:
        return await trio.to_thread.run_sync(
            contents.downloaded_page, self._connection, self._progress.after, _PAGE
        )

    def _portions(self, rows: list[Content]) -> Iterator[list[Content]]:
        """What is read before the progress is noted; only to look at files takes no time to speak of."""
        most_bytes = _PORTION if self._checksums else 1 << 62
        return portions(rows, lambda row: row.size, most_bytes, _PAGE)

    # -- where a run was cut off -----------------------------------------------------------------

    def _take_up(self) -> list[str]:
        """Go on with the last run, if it was cut off lately; which contents to look at again."""
        kept = metadata.get(self._cache.database.reader, PROGRESS)
        try:
            progress = msgspec.json.decode(kept or "{}", type=_Progress)
        except msgspec.MsgspecError:
            return []  # of another version
        if not 0 <= time.time() - progress.when < _GOES_ON_WITHIN:
            return []
        again, progress.bad = list(progress.bad), {}
        progress.result.resumed = True
        self._progress = progress
        return again

    async def _look_again(self, checksums: list[str], meter: Meter) -> None:
        def rows_of() -> list[Content | None]:
            return [contents.get(self._connection, checksum) for checksum in checksums]

        rows = await trio.to_thread.run_sync(rows_of)
        here = [row for row in rows if row is not None and row.status == "downloaded"]
        for portion in self._portions(here):
            await self._check(portion, meter)

    async def _keep_progress(self) -> None:
        if len(self._progress.bad) > MOST_LISTED:
            return  # so much is wrong that it is no loss to find it once more
        self._progress.when = time.time()
        kept = msgspec.structs.replace(self._progress, result=self._without_bad())
        value = msgspec.json.encode(kept).decode()
        await self._cache.database.write(partial(metadata.put, key=PROGRESS, value=value))

    def _without_bad(self) -> VerifyResult:
        """The figures without those of the contents that will be looked at again."""
        result, bad = self._result, self._progress.bad
        kinds = [content.kind for content in bad.values()]
        return msgspec.structs.replace(
            result,
            checked=result.checked - len(bad),
            bytes=result.bytes - sum(content.size for content in bad.values()),
            missing=result.missing - kinds.count("missing"),
            wrong_size=result.wrong_size - kinds.count("wrong-size"),
            corrupt=result.corrupt - kinds.count("corrupt"),
            problems=[problem for problem in result.problems if problem.checksum not in bad],
        )

    # -- contents --------------------------------------------------------------------------------

    async def _check(self, rows: list[Content], meter: Meter) -> None:
        look = read if self._checksums else look_at

        def at_its_place(row: Content) -> Judged:
            return look(row, self._cache.places.absolute(row.path), meter.add)

        judged = await spread(at_its_place, rows, meter)
        self._result.checked += len(rows)
        self._result.bytes += sum(row.size for row in rows)
        await self._note_good(judged)
        bad = [found for found in judged if found.is_bad and await self._is_still_bad(found)]
        problems = [self._note_bad(found) for found in bad]
        if self._repair and bad:
            await self._mend(list(zip(bad, problems, strict=True)))
        for found, problem in zip(bad, problems, strict=True):
            if not problem.repaired:
                self._progress.bad[problem.checksum] = _Bad(problem.kind, found.row.size)

    async def _note_good(self, judged: Iterable[Judged]) -> None:
        newly_proven: list[Judged] = []
        for found in judged:
            if found.verdict == "verified":
                self._result.verified += 1
                row = found.row
                if not (row.verified and row.sha256 and row.identity == found.seen):
                    newly_proven.append(found)
            elif found.verdict == "unverifiable":
                self._note_unverifiable(found.reason)
            elif found.verdict == "present" and (reason := never_proven(found.row)):
                self._note_unverifiable(reason)
        if newly_proven:
            await self._cache.database.write(partial(_set_verified, judged=newly_proven))

    def _note_unverifiable(self, reason: str) -> None:
        self._result.unverifiable += 1
        reasons = self._result.unverifiable_reasons
        reasons[reason] = reasons.get(reason, 0) + 1

    async def _is_still_bad(self, found: Judged) -> bool:
        """Whether row and file are those that were judged, and nobody moves them."""
        row = found.row
        if await self._identity_at(self._cache.places.absolute(row.path)) != found.seen:
            return False
        now = contents.get(self._cache.database.reader, row.checksum)
        if now is None or self._cache.is_leaving(row.checksum):
            return False
        judged = row.status, row.path, row.downloaded_at, row.identity
        return (now.status, now.path, now.downloaded_at, now.identity) == judged

    def _note_bad(self, found: Judged) -> Problem:
        result = self._result
        match found.verdict:
            case "missing":
                result.missing += 1
                kind: Literal["missing", "wrong-size", "corrupt"] = "missing"
            case "wrong-size":
                result.wrong_size += 1
                kind = "wrong-size"
            case _:
                result.corrupt += 1
                kind = "corrupt"
        path = self._cache.places.absolute(found.row.path)
        problem = self._problem(kind, found.row.checksum, path, found.reason)
        return self._list(problem)

    def _problem(
        self,
        kind: Literal["missing", "wrong-size", "corrupt", "orphan"],
        checksum: str,
        path: Path,
        reason: str,
    ) -> Problem:
        tree = self._cache.tree
        file = tree.file_of(checksum)
        places = tree.places(file.ino) if file is not None else []
        filename = places[0].rpartition("/")[2] if places else path.name
        return Problem(kind, checksum, filename, places, str(path), reason)

    def _list(self, problem: Problem) -> Problem:
        if len(self._result.problems) < MOST_LISTED:
            self._result.problems.append(problem)
        return problem

    # -- repair ----------------------------------------------------------------------------------

    async def _mend(self, bad: list[tuple[Judged, Problem]]) -> None:
        to_fetch: list[File] = []
        for found, problem in bad:
            file = await self._cache.condemn(found.row.checksum, found.seen)
            if file is None:
                self._note_repaired(problem)  # nothing shows it, so nobody misses it
            else:
                to_fetch.append(file)
        reasons = await self._fetch(to_fetch)
        for _, problem in bad:
            if problem.repaired:
                continue
            row = contents.get(self._cache.database.reader, problem.checksum)
            if row is not None and row.status == "downloaded":
                self._note_repaired(problem)
            else:
                why = reasons.get(problem.checksum, reasons.get("", ""))
                problem.reason = f"{problem.reason} It was not fetched again yet: {why}".strip()

    async def _fetch(self, files: list[File]) -> dict[str, str]:
        """Why files could not be had, by checksum; by '' what ended it all."""
        try:
            result = await self._cache.prefetch(files, self._report, _CONNECTIONS)
        except IcloudfsError as error:
            return {"": str(error)}
        return {failure.checksum: failure.reason for failure in result.failed}

    def _note_repaired(self, problem: Problem) -> None:
        problem.repaired = True
        self._result.repaired += 1

    # -- orphans ---------------------------------------------------------------------------------

    async def _find_orphans(self) -> None:
        search = OrphanSearch(self._cache.places, self._connection)
        while orphans := await trio.to_thread.run_sync(search.next, _PAGE):
            for orphan in orphans:
                await trio.lowlevel.checkpoint()
                if await self._is_claimed(orphan) or self._may_be_of_a_photo_to_come(orphan):
                    continue
                self._result.orphans += 1
                reason = "No content in the state is this file."
                problem = self._list(
                    self._problem("orphan", orphan.checksum or "", orphan.path, reason)
                )
                if self._repair and await self._dispose_of(orphan):
                    self._note_repaired(problem)

    async def _is_claimed(self, orphan: Orphan) -> bool:
        """Whether it is somebody's after all, or gone."""
        return (
            await self._has_row(orphan)
            or not await self._identity_at(orphan.path)
            or self._cache.is_claimed(orphan.path.name)
        )

    async def _has_row(self, orphan: Orphan) -> bool:
        return await self._cache.database.read(
            partial(has_row, relative=orphan.relative, checksum=orphan.checksum)
        )

    async def _identity_at(self, path: Path) -> str:
        return await self._cache.places.disk.run(partial(_identity_at, path))

    async def _dispose_of(self, orphan: Orphan) -> bool:
        """Take it for the content that it is named after, if that is lacking, or remove it.

        Whether the file is no longer an orphan.
        """
        checksum = orphan.checksum
        file = self._cache.tree.file_of(checksum) if checksum is not None else None
        if file is not None and file.size == orphan.size and self._could_be(orphan, file):
            row = contents.get(self._cache.database.reader, file.checksum)
            if row is not None:
                await self._cache.drop([file.checksum])
            with suppress(IcloudfsError):
                # Found there, it is believed when it has been verified.
                await self._cache.fetch(file, may_be_there=True)
        elif not await self._is_claimed(orphan):
            await self._cache.remove(orphan.path)
        return not await self._identity_at(orphan.path) or await self._has_row(orphan)

    def _may_be_of_a_photo_to_come(self, orphan: Orphan) -> bool:
        """While a library is not wholly listed, a file that bears a checksum is not nobody's yet."""
        if orphan.checksum is None or contents.is_catalogue_complete(self._cache.database.reader):
            return False
        return self._cache.tree.file_of(orphan.checksum) is None

    def _could_be(self, orphan: Orphan, file: File) -> bool:
        """Whether it lies where the content belongs, and that is not here by another way."""
        places = self._cache.places
        row = contents.get(self._cache.database.reader, file.checksum)
        return orphan.path == places.absolute(places.content_path(file.checksum)) and (
            row is None or row.status != "downloaded"
        )


def _set_verified(connection: apsw.Connection, judged: Iterable[Judged]) -> None:
    for found in judged:
        contents.set_checked(
            connection,
            found.row.checksum,
            found.row.path,
            found.sha256,
            found.seen,
            proven=True,
        )


def _identity_at(path: Path) -> str:
    """Of the file at ``path``, '' if there is none to be reached."""
    try:
        return identity(path.lstat())
    except OSError:
        return ""
