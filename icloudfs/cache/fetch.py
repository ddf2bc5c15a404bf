"""One content that somebody has open: what of it may be read, and getting the rest of it here.

There is one ``Fetch`` a checksum, however many readers and files (cache.py). Readers wait; *pulls* bring
ranges; whoever brings the last byte has the whole verified, in the same task. Readers get it then, and do not
wait until the disk has it for good.

What may be read
    Once verified: everything. Before that
    * of a photo (up to ``whole_below`` bytes) its head alone, and only in small pieces: who sniffs at types
      or reads EXIF must not cost a download, but who copies must not get a byte that was not checked;
    * of a larger file what is present, but for the bytes that make it whole: it streams, and is verified
      when the last hole is filled, before anybody gets what filled it. So a copy of it fails if it is bad.

Invariants (between two awaits)
    * No byte is claimed by two pulls, and none that is present is claimed: nothing is transferred twice.
    * While ``_busy`` (the bytes are being checked or thrown away) there are no pulls.
    * An error is told to those who wait for it and then forgotten; the next read tries again.
    * Every waiter is woken by the end of the pulls that it waits for, and those end (pull.py).
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import apsw
import msgspec
import trio

from icloudfs.aside import aside, say
from icloudfs.cache.holding import Holding, storage_error
from icloudfs.cache.outcome import Outcome
from icloudfs.cache.pull import HOLD, Means, Pull
from icloudfs.cache.ranges import RangeSet
from icloudfs.cache.readahead import LARGEST_WINDOW, Place
from icloudfs.cache.source import Interrupted
from icloudfs.errors import (
    ContentError,
    ContentMismatch,
    ContentUnavailable,
    DiskSilent,
    IcloudfsError,
    Offline,
)
from icloudfs.state import contents
from icloudfs.tree.directory import File

log = logging.getLogger(__name__)

SMALL = 64 << 10
"""Bytes of the largest read that the head answers. The kernel turns an ordinary first read of up to 32 KiB
into one of up to 64 KiB (readahead doubles it, in powers of two), and what copies reads 128 KiB at once."""

FAR = 4 << 20
"""Bytes that a reader waits for to flow by, before a range of its own is opened where it wants to be."""

IDLE = 2.0
"""Seconds after the last read at a place until fetching ahead of it stops."""

_BEYOND_PATIENCE = 15.0
"""Seconds more than the network is waited for, until it must be the disk that stands still."""

_MOST_PLACES = 8

_VERIFY_AGAIN = 10.0
"""Seconds after the disk refused to take a whole content until that is tried again."""


class Transfer(msgspec.Struct, frozen=True):
    """A content on its way, for ``status``."""

    checksum: str
    ino: int
    size: int
    done: int
    """Bytes that are here."""
    rate: float
    """Bytes a second."""
    waiting: int
    """Readers that wait for it."""


@dataclass(frozen=True)
class Rules:
    """What may be read before a content is whole. Sizes in bytes."""

    whole_below: int
    head: int
    strict: bool


class _Waiter:
    """Somebody who needs ``[start, stop)``, or the ``whole``, or even the whole ``kept`` for good."""

    def __init__(self, start: int, stop: int, *, whole: bool = False, kept: bool = False) -> None:
        self.start = start
        self.stop = stop
        self.whole = whole or kept
        self.kept = kept
        self.woken = trio.Event()
        self.error: Exception | None = None


class Fetch:
    """Everything that goes on about one content."""

    def __init__(
        self,
        file: File,
        holding: Holding,
        rules: Rules,
        means: Means,
        nursery: trio.Nursery,
        *,
        proved_wrong: Callable[[str], None],
        left_alone: Callable[[Fetch], None],
        open_again: Callable[[Fetch], None],
    ) -> None:
        """``proved_wrong`` is told when bytes that were read should not have been; ``left_alone`` when
        nothing goes on any more. ``open_again`` is asked to begin the opening of what the disk holds, which
        ends with ``opened`` or ``not_opened``."""
        self.file = file
        self.holding = holding
        self.readers = 0
        """Open handles, reads and whole fetches: who might still want something."""
        self._rules = rules
        self._means = means
        self._nursery = nursery
        self._proved_wrong = proved_wrong
        self._left_alone = left_alone
        self._open_again = open_again
        self._opening: Outcome[None] | None = None
        self._is_opening = False
        self._is_aside = False
        self._pulls: list[Pull] = []
        self._places: list[Place] = []
        self._waiters: set[_Waiter] = set()
        self._verdict: ContentError | None = None
        self._busy = False
        self._is_hashing = False
        self._began = False
        """Whether the beginning was asked for, and nothing beyond it yet."""
        self._read_unverified = False
        self.verdicts = 0
        """How often bytes that somebody was shown proved not to be the content."""
        self.last_verdict: ContentError | None = None
        self._absences = 0
        self._stopped = False
        self._not_to_verify_before = -math.inf
        self._disk_error: IcloudfsError | None = None

    # -- opening ---------------------------------------------------------------------------------

    def begin_opening(self) -> None:
        """The disk has to be asked what it holds: nothing is read or fetched until it has answered."""
        self._opening, self._is_opening = Outcome(), True
        self._open_again(self)

    def opened(self, holding: Holding) -> None:
        """The disk has answered."""
        opening, self._opening, self._is_opening = self._opening, None, False
        self.holding = holding
        if opening is not None:
            opening.succeed(None)
        self._notice_if_left_alone()

    def not_opened(self, error: Exception) -> None:
        """It has not; whoever comes next asks it again."""
        self._is_opening = False
        if self._opening is not None:
            self._opening.fail(error)
        self._notice_if_left_alone()

    @property
    def is_opening(self) -> bool:
        """Whether the disk is being asked what it holds."""
        return self._is_opening

    async def until_opened(self) -> None:
        """Wait until it is known what the disk holds. Raises DiskSilent."""
        if self._opening is None:
            return
        if not self._is_opening and not self._stopped:
            self.begin_opening()
        await self._opening.wait()

    @property
    def patience(self) -> float:
        """Seconds that the disk may take to give what it holds."""
        return self._means.timeout

    # -- what may be read ------------------------------------------------------------------------

    def may_read(self, start: int, stop: int) -> bool:
        """Whether bytes ``[start, stop)`` are here and may be shown to a reader."""
        if self.holding.verified:
            return True
        if self.holding.is_doubted or not self.holding.present.covers(start, stop):
            return False
        # The reader that is given the last bytes of a large file is told whether they were right.
        return not self._is_all_here if self.streams else self._is_head(start, stop)

    @property
    def _is_all_here(self) -> bool:
        return self.holding.present.covers(0, self.file.size)

    def was_read(self, start: int, stop: int) -> None:
        """A reader got these bytes: keep ahead of it."""
        if self.holding.verified:
            return
        self._read_unverified = True
        if self.streams:
            self._go_ahead(start, stop)

    @property
    def streams(self) -> bool:
        """Whether it is too large to be waited for as a whole."""
        return self.file.size > self._rules.whole_below

    def _is_head(self, start: int, stop: int) -> bool:
        head = 0 if self._rules.strict else self._rules.head
        return stop <= head < self.file.size and stop - start <= SMALL

    # -- waiting ---------------------------------------------------------------------------------

    async def until_readable(self, start: int, stop: int) -> None:
        """Wait until ``[start, stop)`` may be read.

        Raises ContentMismatch, ContentUnavailable, DiskFull and what a look-up raises, at the latest
        after ``timeout`` seconds without progress; Offline after a second if the network is known to
        be away.
        """
        if self.streams or self._is_head(start, stop):
            await self._wait(_Waiter(start, stop))
        else:
            await self._wait(_Waiter(0, self.file.size, whole=True))

    async def until_whole(self) -> None:
        """Wait until the content is whole, verified and kept. Raises as ``until_readable``."""
        await self.until_opened()
        if not self.holding.whole:
            await self._wait(_Waiter(0, self.file.size, kept=True))

    async def _wait(self, waiter: _Waiter) -> None:
        if self._stopped:
            raise Offline("icloudfs is being stopped.")
        if self._disk_error is not None and trio.current_time() < self._not_to_verify_before:
            # Nothing is under way that could wake anybody.
            raise copy.copy(self._disk_error)
        lacking = not self.holding.present.covers(waiter.start, waiter.stop)
        patience = self._means.reachability.patience() if lacking else math.inf
        self._waiters.add(waiter)
        try:
            self._work_for(waiter)
            with trio.move_on_after(patience):
                await self._until_woken(waiter)
        finally:
            self._waiters.discard(waiter)
        if waiter.error is not None:
            # Each reader its own: one error raised in several tasks would mix their tracebacks.
            raise copy.copy(waiter.error)
        if not waiter.woken.is_set():
            raise self._means.reachability.gave_up()

    async def _until_woken(self, waiter: _Waiter) -> None:
        """Raises DiskSilent if nothing at all goes on: the network is waited for by the pulls, and tells."""
        while not waiter.woken.is_set():
            before = self._reached()
            with trio.move_on_after(self.patience + _BEYOND_PATIENCE):
                await waiter.woken.wait()
            may_take_long = waiter.kept or self._is_aside
            if not waiter.woken.is_set() and not may_take_long and self._reached() == before:
                raise DiskSilent("The disk of the cache does not take what comes.")

    def _reached(self) -> tuple[int, ...]:
        """How far everything has come."""
        written = (pull.written for pull in self._pulls)
        return (self.holding.generation, self.holding.present.total, self.holding.hashed, *written)

    def _is_satisfied(self, waiter: _Waiter) -> bool:
        if waiter.whole:
            return self.holding.whole or (self.holding.verified and not waiter.kept)
        return self.may_read(waiter.start, waiter.stop)

    def _wake_satisfied(self) -> None:
        for waiter in self._waiters:
            if self._is_satisfied(waiter):
                waiter.woken.set()

    def _fail(self, error: Exception, concerns: Callable[[_Waiter], bool] = lambda _: True) -> None:
        for waiter in self._waiters:
            if not waiter.woken.is_set() and concerns(waiter):
                waiter.error = error
                waiter.woken.set()

    # -- what to fetch ---------------------------------------------------------------------------

    def _work_for(self, waiter: _Waiter) -> None:
        """See to it that what the waiter needs is on its way. Asking again costs nothing."""
        if self._is_settling:
            return
        if not waiter.whole and self.streams:
            self._go_ahead(waiter.start, waiter.stop)
        elif not waiter.whole:
            goes_on = self._means.habits.photos_are_read_on
            if self._pull_missing(0, self._rules.head, None, goes_on=goes_on):
                self._began = True
        elif not self.streams:
            if not waiter.kept:
                self._note_habit(reads_on=True)
            self._pull_missing(0, self.file.size, None)
        else:
            self._pull_next_window()
        self._check_if_complete()

    @property
    def _is_settling(self) -> bool:
        """Whether nothing new may begin: bytes are being checked or thrown away, or the cache ends."""
        return self._busy or self._opening is not None or self._verdict is not None or self._stopped

    def _pull_next_window(self) -> None:
        """A whole large file goes window by window: a CDN has been seen to cut off at 1 GB. A line that is held
        for a reader who does not read on is no reason to wait."""
        first = next(self._unclaimed(0, self.file.size), None)
        if first is not None and all(pull.is_held for pull in self._pulls):
            self._pull_missing(first[0], min(first[0] + 2 * LARGEST_WINDOW, self.file.size), None)

    def _go_ahead(self, start: int, stop: int) -> None:
        """A reader of a large file is at ``[start, stop)``: fetch that, and ahead of it."""
        if self._is_settling:
            return
        now = trio.current_time()
        missing = next(self.holding.present.holes(start, stop), None)
        if missing is not None:
            self._open_second_range(missing[0])
        place = next((place for place in self._places if place.owns(start)), None)
        if place is None:
            place = self._new_place(start, now)
        if ahead := place.advance(start, stop, self.file.size, now):
            self._pull_missing(*ahead, place, goes_on=self._will_go_on(place, ahead[0]))
        self._pull_missing(start, stop, place)
        self._check_if_complete()

    def _will_go_on(self, place: Place, asked: int) -> bool:
        """Whether who is at ``place`` is likely to read on beyond the window that begins at ``asked``."""
        if asked > place.begin:
            self._note_habit(reads_on=True)
            return True
        self._began = self._began or asked == 0
        return asked == 0 and self._means.habits.films_are_read_on

    def _note_habit(self, *, reads_on: bool) -> None:
        """A reader went on beyond the beginning, or left."""
        self._began = False
        if self.streams:
            self._means.habits.films_are_read_on = reads_on
        else:
            self._means.habits.photos_are_read_on = reads_on

    def _new_place(self, start: int, now: float) -> Place:
        if len(self._places) == _MOST_PLACES:
            self._places.remove(min(self._places, key=lambda place: place.used))
        self._places.append(Place(start, now))
        return self._places[-1]

    def _open_second_range(self, wanted: int) -> None:
        """End a pull short of ``wanted`` if that would be long in coming by it."""
        for pull in self._pulls:
            if pull.claims(wanted) and wanted - pull.written > FAR:
                pull.end_at(wanted)
                self._new_place(wanted, trio.current_time())

    def _pull_missing(
        self, start: int, stop: int, place: Place | None, *, goes_on: bool = False
    ) -> bool:
        """Have ``[start, stop)`` brought, by a pull that can go on beyond it if somebody ``goes_on``;
        whether there was anything to bring."""
        spans = list(self._unclaimed(start, stop))
        for span in spans:
            pull = next((pull for pull in self._pulls if pull.can_go_on(*span)), None)
            if pull is not None:
                pull.go_on(span[1])
            else:
                self._begin_pull(span, place, self._free_until(span[1]) if goes_on else span[1])
        return bool(spans)

    def _begin_pull(self, span: tuple[int, int], place: Place | None, reach: int) -> None:
        for other in self._pulls:
            if other.stop <= span[0]:
                other.give_way(span[0])
        pull = Pull(
            self.file,
            self.holding,
            self._means,
            span,
            place,
            reach,
            is_urgent=self._is_awaited_up_to,
            is_wanted=self._is_wanted,
        )
        self._pulls.append(pull)
        self._nursery.start_soon(aside, self._carry_through, pull)

    def _free_until(self, offset: int) -> int:
        """Up to where nothing from ``offset`` on is here, or on its way."""
        hole = next(self._unclaimed(offset, self.file.size), None)
        return hole[1] if hole is not None and hole[0] == offset else offset

    def _unclaimed(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        claimed = RangeSet((pull.written, pull.stop) for pull in self._pulls)
        for hole in self.holding.present.holes(start, stop):
            yield from claimed.holes(*hole)

    def _is_awaited_up_to(self, reached: int) -> bool:
        """Whether somebody has waited long enough once the bytes before ``reached`` are on disk."""
        return any(
            not waiter.whole and waiter.start < reached and waiter.stop <= reached
            for waiter in self._waiters
            if not waiter.woken.is_set()
        )

    def _is_wanted(self, pull: Pull) -> bool:
        if pull.place is None or trio.current_time() - pull.place.used < IDLE:
            return True
        return any(
            waiter.whole or (waiter.start < pull.stop and waiter.stop > pull.written)
            for waiter in self._waiters
        )

    # -- pulls -----------------------------------------------------------------------------------

    async def _carry_through(self, pull: Pull) -> None:
        error: Exception | None = None
        try:
            with pull.scope:
                await pull.run(self._arrived)
        except IcloudfsError as known:
            error = known
        except Exception as unforeseen:
            log.exception("Fetching %s failed in an unforeseen way", self.file.checksum)
            error = ContentError(f"Fetching failed in an unforeseen way: {unforeseen!r}")
        finally:
            self._pulls.remove(pull)
        try:
            await self._after(pull, error)
        except Exception as unkept:
            self._could_not_keep(unkept)
        finally:
            self._notice_if_left_alone()

    def _could_not_keep(self, error: Exception) -> None:
        """The disk or the state took no note of what came: who waits hears of it, and it is noted later."""
        told = storage_error(error) if isinstance(error, OSError) else error
        say(told, f"keeping {self.file.checksum}")
        if not isinstance(told, IcloudfsError):
            told = ContentError(f"What came could not be kept: {told!r}")
        self._fail(told)
        self._means.ledger.note(self.holding)

    def _arrived(self) -> None:
        self._wake_satisfied()
        if self.streams and not self._is_settling and any(w.whole for w in self._waiters):
            self._pull_next_window()
        if not self._is_hashing:
            self._is_hashing = True
            self._nursery.start_soon(aside, self._hash_what_is_here)

    async def _hash_what_is_here(self) -> None:
        """Beside the pulls, so that little is left to do when the last byte comes."""
        try:
            while await self.holding.hash_on():
                pass
        finally:
            self._is_hashing = False
            self._notice_if_left_alone()

    async def _after(self, pull: Pull, error: Exception | None) -> None:
        if pull.place is not None and pull.written < pull.stop:
            pull.place.cut(pull.written)
        if error is not None:
            await self._judge(error, pull)
        if self._verdict is not None:
            for other in self._pulls:
                other.scope.cancel()
            if not self._pulls:
                await self._throw_away(self._verdict)
            return
        if self._is_complete:
            await self._verify()
        self._work_on()

    def _work_on(self) -> None:
        for waiter in list(self._waiters):
            if not waiter.woken.is_set():
                self._work_for(waiter)

    async def _judge(self, error: Exception, pull: Pull) -> None:
        """Decide what an error means: for the content, or only for those who wait for this range."""
        told = self._in_other_words(error)
        about_content = isinstance(told, ContentMismatch | ContentUnavailable)
        if about_content and not (self.streams and self.holding.present):
            assert isinstance(told, ContentError)
            self._verdict = told
            return
        # Before anything is waited for: who comes meanwhile begins a pull of their own.
        self._fail(
            told,
            lambda waiter: (
                waiter.whole or (waiter.start < pull.stop and waiter.stop > pull.written)
            ),
        )
        if about_content:
            # Gigabytes that came well are not thrown away for one bad answer.
            await aside(self._note_error, told)

    def _in_other_words(self, error: Exception) -> Exception:
        size, checksum = self.file.size, self.file.checksum
        if isinstance(error, Interrupted):
            return ContentMismatch(
                f"Expected {size} bytes with checksum {checksum}, found"
                f" {self.holding.present.total} bytes: {error}"
            )
        if isinstance(error, ContentMismatch) and checksum not in str(error):
            return ContentMismatch(f"Expected {size} bytes with checksum {checksum}. {error}")
        return error

    async def _note_error(self, error: Exception) -> None:
        file, path = self.file, self.holding.part

        def note(connection: apsw.Connection) -> None:
            contents.note_error(connection, file.checksum, file.size, path, str(error))

        await self._means.database.write(note)

    # -- the end ---------------------------------------------------------------------------------

    @property
    def _is_complete(self) -> bool:
        return (
            not self.holding.whole
            and not self._busy
            and trio.current_time() >= self._not_to_verify_before
            and not self._pulls
            and self._is_all_here
        )

    def _check_if_complete(self) -> None:
        """Nothing is left to fetch, as after a kill between the last byte and the check."""
        if self._is_complete:
            self._nursery.start_soon(aside, self._verify_alone)
            # From here on, not only once the task has begun.
            self._busy = True

    async def _verify_alone(self) -> None:
        self._busy = False
        try:
            await self._verify()
            self._work_on()
        except Exception as unkept:
            self._could_not_keep(unkept)
        finally:
            self._notice_if_left_alone()

    async def _verify(self) -> None:
        self._busy = True
        try:
            await self.holding.verify()
            self._wake_satisfied()
            await self.holding.keep()
        except ContentMismatch as error:
            if self.holding.is_doubted:
                await self._lose_what_is_doubted()
            else:
                self._verdict = error
        except IcloudfsError as error:
            # The disk, not the content; hashing gigabytes again at every read would not help.
            self._not_to_verify_before = trio.current_time() + _VERIFY_AGAIN
            self._disk_error = error
            self._fail(error)
        finally:
            self._busy = False
        if self._verdict is not None:
            await self._throw_away(self._verdict)
        self._wake_satisfied()

    async def _lose_what_is_doubted(self) -> None:
        """What was found here is not the content; iCloud has it."""
        try:
            await self.holding.remove()
        except OSError as error:
            log.warning("A wrong file could not be removed from the cache: %s", error)
        self.lose()

    async def _throw_away(self, verdict: ContentError) -> None:
        """The bytes are not the content: none of them stays, and nobody may go on believing them."""
        log.warning("%s: %s", self.file.checksum, verdict)
        self._means.urls.forget(self.file)  # it may be the address of another content
        self._busy = True
        if self._read_unverified:
            self.verdicts += 1
        self.last_verdict = verdict
        self._places.clear()
        self._means.room.left(self.holding.present.total)
        try:
            await self.holding.discard(str(verdict))
        finally:
            self._busy = False
            self._verdict = None
            if self._read_unverified:
                self._read_unverified = False
                self._proved_wrong(self.file.checksum)
            self._fail(verdict)

    # -- another file in its place ---------------------------------------------------------------

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is fetched, checked or thrown away just now."""
        return not (self._is_settling or self._pulls)

    def set_aside(self) -> bool:
        """Drop what is here and fetch nothing until ``go_on``: a file that is the content is at hand.

        False, and nothing is changed, if the content is here or something goes on about it.
        """
        if self.holding.is_here or not self.is_quiet:
            return False
        self._busy = self._is_aside = True
        self._places.clear()
        self._means.room.left(self.holding.counted)
        self.holding.let_go()
        self._means.ledger.note(self.holding)
        return True

    def go_on(self) -> None:
        """With what the holding has taken up meanwhile: readers that wait are served from it."""
        self._busy = self._is_aside = False
        if self.holding.whole:
            self._means.room.arrived(0, self.holding.counted)
        if self._read_unverified:
            self._read_unverified = False
            self._proved_wrong(self.file.checksum)
        self._wake_satisfied()
        self._work_on()

    # -- coming and going ------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether nobody has it open and nothing goes on."""
        at_work = self._pulls or self._busy or self._is_hashing or self._is_opening
        return not (self.readers or at_work)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """The file stays open for as long as somebody reads from it, whoever closes what."""
        self.reader_came()
        try:
            yield
        finally:
            self.reader_left()

    def lose(self) -> None:
        """The file is not what it was when it was opened: gone, truncated or written to."""
        log.warning("What was cached of %s is gone or was changed", self.file.checksum)
        self._means.room.left(self.holding.counted)
        self._places.clear()
        self.holding.lose()
        self._means.ledger.note(self.holding)
        self._proved_wrong(self.file.checksum)

    def reader_came(self) -> None:
        """One reader more."""
        self.readers += 1
        if self.readers == 1:
            for pull in self._pulls:
                pull.come_back()

    def reader_left(self) -> None:
        """One reader fewer. A photo under way is finished; a large file is not fetched for nobody, unless
        somebody comes within a moment."""
        self.readers -= 1
        if not self.readers:
            if self._began:
                self._note_habit(reads_on=False)
            for pull in self._pulls:
                pull.leave(pause=self.streams)
            if self._pulls and self.streams:
                self._nursery.start_soon(
                    aside, self._give_up_unless_somebody_comes, self._new_absence()
                )
        self._notice_if_left_alone()

    def _new_absence(self) -> int:
        self._absences += 1
        return self._absences

    async def _give_up_unless_somebody_comes(self, absence: int) -> None:
        await trio.sleep(HOLD)
        if not self.readers and self._absences == absence:
            for pull in self._pulls:
                pull.give_up()

    def _notice_if_left_alone(self) -> None:
        if self.is_idle:
            self._left_alone(self)

    def stop(self) -> None:
        """The cache ends: nobody shall wait for what will not come."""
        self._stopped = True
        self._fail(Offline("icloudfs is being stopped."))

    def transfer(self) -> Transfer | None:
        """What to tell about it, while anything is on its way."""
        if not self._pulls:
            return None
        now = trio.current_time()
        return Transfer(
            checksum=self.file.checksum,
            ino=self.file.ino,
            size=self.file.size,
            done=self.holding.present.total,
            rate=sum(
                (pull.written - pull.start) / max(now - pull.began, 0.001) for pull in self._pulls
            ),
            waiting=len(self._waiters),
        )
