"""Large files stream: a read waits for its own range, and what is fetched ahead is bounded."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from icloudfs.cache.pull import REST
from icloudfs.cache.readahead import FIRST_WINDOW
from icloudfs.errors import ContentMismatch
from icloudfs.state import contents
from icloudfs.state.database import Database
from tests.cache.server import KIB, MIB, Server, read_all, running, some_bytes, until_nothing_comes

LARGE = 24 * MIB
SMALL = 2 * MIB  # what counts as a photo here


async def test_a_large_file_is_read_while_it_comes(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(LARGE)
    file = server.add(content)
    async with running(directory, database, server, whole_below=SMALL) as cache:
        handle = cache.open(file)
        assert await handle.read(0, 128 * KIB) == content[: 128 * KIB]
        assert server.sent <= 2 * FIRST_WINDOW and not handle.verified
        handle.close()
        assert await read_all(cache, file) == content
        await cache.fetch(file)
        handle = cache.open(file)
        assert handle.verified
        handle.close()
    row = contents.get(database.reader, file.checksum)
    assert row is not None and row.status == "downloaded" and row.verified
    assert server.sent == LARGE  # nothing came twice
    assert len(server.gets) < 12 and len(server.lookups) == 1


async def test_windows_grow_on_one_line(
    server: Server, directory: Path, database: Database
) -> None:
    file = server.add(some_bytes(LARGE))
    async with running(directory, database, server, whole_below=SMALL) as cache:
        handle = cache.open(file)
        ahead = []
        for at in range(0, 8 * MIB, 128 * KIB):
            await handle.read(at, 128 * KIB)
            await trio.sleep(0.002)
            ahead.append(server.sent - at)
        # One request beyond the first window, of which no more is taken than there is room for.
        assert [(get.start, get.stop) for get in server.gets] == [
            (0, FIRST_WINDOW),
            (FIRST_WINDOW, LARGE),
        ]
        assert ahead[0] < 2 * FIRST_WINDOW < ahead[-1] < 12 * FIRST_WINDOW
        # Half a window before the reader gets there the next one is on its way.
        assert min(ahead) > FIRST_WINDOW // 2 - 256 * KIB
        handle.close()


async def test_who_reads_beginnings_alone_is_given_beginnings(
    server: Server, directory: Path, database: Database
) -> None:
    films = [server.add(some_bytes(LARGE, seed)) for seed in range(4)]
    async with running(directory, database, server, whole_below=SMALL) as cache:
        for film in films[:2]:
            handle = cache.open(film)
            await handle.read(0, 16 * KIB)
            handle.close()
        assert {get.stop for get in server.gets} == {FIRST_WINDOW}
        assert await read_all(cache, films[2]) == some_bytes(LARGE, 2)
        server.forget_traffic()
        assert await read_all(cache, films[3]) == some_bytes(LARGE, 3)
        assert [(get.start, get.stop) for get in server.gets] == [(0, LARGE)]


async def test_the_line_is_not_held_for_who_stopped_reading(
    server: Server, directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icloudfs.cache.fetch.IDLE", 0.2)
    monkeypatch.setattr("icloudfs.cache.pull.HOLD", 0.05)
    content = some_bytes(LARGE)
    file = server.add(content)
    async with running(directory, database, server, whole_below=SMALL) as cache:
        handle = cache.open(file)
        for at in range(0, 2 * MIB, 128 * KIB):
            assert await handle.read(at, 128 * KIB) == content[at : at + 128 * KIB]
        await trio.sleep(0.1)
        assert len(cache.transfers()) == 1
        await trio.sleep(0.4)
        assert cache.transfers() == []
        handle.close()
        assert await read_all(cache, file) == content
    assert len(server.gets) == 3 and server.sent <= LARGE + 64 * KIB


async def test_a_line_gives_way_to_one_that_begins_farther_on(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(LARGE)
    file = server.add(content)
    async with running(directory, database, server, whole_below=SMALL) as cache:
        first, second = cache.open(file), cache.open(file)
        await first.read(0, 128 * KIB)
        middle = LARGE // 2
        for at in range(middle, LARGE, 128 * KIB):
            assert await second.read(at, 128 * KIB) == content[at : at + 128 * KIB]
        for at in range(0, LARGE, 128 * KIB):
            assert await first.read(at, 128 * KIB) == content[at : at + 128 * KIB]
        first.close()
        second.close()
    assert server.sent == LARGE and server.gets[0].start == 0


async def test_a_seek_to_the_end_does_not_wait_for_the_middle(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(LARGE)
    file = server.add(content)
    server.pace = 0.01  # the whole would take 4 s
    async with running(directory, database, server, whole_below=SMALL) as cache:
        handle = cache.open(file)
        await handle.read(0, 128 * KIB)
        with trio.fail_after(0.5):
            assert await handle.read(LARGE - 128 * KIB, 128 * KIB) == content[-128 * KIB :]
        handle.close()
    # A look at both ends is no reason to fetch what lies between.
    assert server.sent < 4 * MIB


async def test_a_seek_into_a_window_on_its_way_opens_a_second_range(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(LARGE)
    file = server.add(content)
    async with running(directory, database, server, whole_below=SMALL) as cache:
        server.pace = 0.01
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cache.fetch, file)  # one GET for all of it
            await trio.sleep(0.1)
            assert [(get.start, get.stop) for get in server.gets] == [(0, LARGE)]
            handle = cache.open(file)
            with trio.fail_after(0.5):
                assert await handle.read(16 * MIB, 64 * KIB) == content[16 * MIB :][: 64 * KIB]
            assert server.gets[1].start == 16 * MIB
            server.pace = 0
        handle.close()
        assert await read_all(cache, file) == content
    # Only what was in flight when a range was cut short may have come twice.
    assert LARGE <= server.sent <= LARGE + MIB


async def test_a_reader_who_stops_holds_up_nobody_who_wants_all_of_it(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(LARGE)
    file = server.add(content)
    async with running(directory, database, server, whole_below=SMALL) as cache:
        handle = cache.open(file)
        for at in range(0, 2 * MIB, 128 * KIB):
            assert await handle.read(at, 128 * KIB) == content[at : at + 128 * KIB]
        with trio.fail_after(10):
            await cache.fetch(file)
        handle.close()
    assert server.sent <= LARGE + MIB


async def test_nothing_is_fetched_once_nobody_reads(
    server: Server, directory: Path, database: Database
) -> None:
    file = server.add(some_bytes(LARGE))
    server.pace = 0.005
    async with running(directory, database, server, whole_below=SMALL) as cache:
        handle = cache.open(file)
        for at in range(0, 6 * MIB, 128 * KIB):
            await handle.read(at, 128 * KIB)
        left = server.sent
        handle.close()
        await until_nothing_comes(cache)
        sent = server.sent
        # Beyond what came before anybody could know: no more than the network is taken to have brought.
        assert sent <= left + REST + 64 * KIB and sent < LARGE
        await trio.sleep(0.3)
        assert server.sent == sent
    assert server.sent == sent


async def test_a_film_that_is_opened_again_at_once_goes_on_on_its_line(
    server: Server, directory: Path, database: Database
) -> None:
    """And while nobody has it open, no more of it is taken."""
    content = some_bytes(LARGE)
    file = server.add(content)
    server.pace = 0.002
    async with running(directory, database, server, whole_below=SMALL) as cache:
        for begin in range(0, LARGE, 2 * MIB):
            handle = cache.open(file)
            for at in range(begin, begin + 2 * MIB, 128 * KIB):
                assert await handle.read(at, 128 * KIB) == content[at : at + 128 * KIB]
            handle.close()
            left = server.sent
            await trio.sleep(0.05)
            assert server.sent <= left + 64 * KIB
    # The beginning, and the rest: as if it had never been closed.
    assert [get.start for get in server.gets] == [0, FIRST_WINDOW]
    assert server.sent == LARGE


async def test_a_short_rest_is_finished_when_the_film_is_closed(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(4 * MIB)
    file = server.add(content)
    server.pace = 0.002
    async with running(directory, database, server, whole_below=SMALL) as cache:
        handle = cache.open(file)
        for at in range(0, 3 * MIB + 128 * KIB, 128 * KIB):
            await handle.read(at, 128 * KIB)
        handle.close()
        await until_nothing_comes(cache)
        assert server.sent == 4 * MIB
        server.away = True
        assert await read_all(cache, file) == content


async def test_what_came_of_a_film_that_is_given_up_is_kept(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(LARGE)
    file = server.add(content)
    async with running(directory, database, server, whole_below=SMALL) as cache:
        handle = cache.open(file)
        for at in range(0, 4 * MIB, 128 * KIB):
            await handle.read(at, 128 * KIB)
        handle.close()
        await until_nothing_comes(cache)
        assert cache.usage >= server.sent - 64 * KIB
        assert await read_all(cache, file) == content
    assert server.sent <= LARGE + 64 * KIB


async def test_a_reader_that_comes_when_a_film_is_being_given_up(
    server: Server, directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any moment of that, every byte comes, and but one request more."""
    monkeypatch.setattr("icloudfs.cache.fetch.HOLD", 0.03)
    content = some_bytes(6 * MIB)
    async with running(directory, database, server, whole_below=SMALL) as cache:
        for wait in range(0, 100, 20):
            file = server.add(content, checksum=f"BG{wait:04}==")
            server.forget_traffic()
            server.pace = 0.001
            handle = cache.open(file)
            for at in range(0, 2 * MIB, 128 * KIB):
                await handle.read(at, 128 * KIB)
            handle.close()
            await trio.sleep(wait / 1000)
            assert await read_all(cache, file) == content
            assert len(server.gets) <= 4 and server.sent <= len(content) + 64 * KIB


async def test_a_reader_that_pauses_is_not_run_away_from(
    server: Server, directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icloudfs.cache.fetch.IDLE", 0.2)
    content = some_bytes(LARGE)
    file = server.add(content)
    server.pace = 0.005
    async with running(directory, database, server, whole_below=SMALL) as cache:
        handle = cache.open(file)
        for at in range(0, 6 * MIB, 128 * KIB):
            await handle.read(at, 128 * KIB)
        await trio.sleep(0.3)
        sent = server.sent
        await trio.sleep(0.3)
        assert server.sent == sent < LARGE
        server.pace = 0
        assert await handle.read(6 * MIB, MIB) == content[6 * MIB : 7 * MIB]
        handle.close()
        assert await read_all(cache, file) == content
    assert server.sent == LARGE


async def test_reads_out_of_order_are_one_place(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(4 * MIB)
    file = server.add(content)
    got: dict[int, bytes] = {}

    async def read(at: int) -> None:
        got[at] = await handle.read(at, 128 * KIB)

    async with running(directory, database, server, whole_below=SMALL) as cache:
        handle = cache.open(file)
        for first in range(0, 4 * MIB, 512 * KIB):
            async with trio.open_nursery() as nursery:
                for at in range(first + 384 * KIB, first - 1, -128 * KIB):
                    nursery.start_soon(read, at)
        handle.close()
    assert b"".join(got[at] for at in sorted(got)) == content
    assert server.sent == 4 * MIB


async def test_a_large_file_that_proves_wrong_is_gone_and_the_kernel_is_told(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(5 * MIB)
    file = server.add(content)
    server.flipped = 4 * MIB
    wrong: list[str] = []
    async with running(directory, database, server, whole_below=SMALL, wrong=wrong) as cache:
        with pytest.raises(ContentMismatch, match=r"Expected checksum .* found checksum|found"):
            await read_all(cache, file)
            await cache.fetch(file)
        await trio.sleep(0.05)
        assert wrong == [file.checksum]
        assert cache.usage == 0
        row = contents.get(database.reader, file.checksum)
        assert row is not None and row.status == "failed" and row.path == ""
        assert row.last_error is not None and file.checksum in row.last_error
        server.flipped = None
        assert await read_all(cache, file) == content
        await cache.fetch(file)


async def test_an_answer_that_breaks_off_again_and_again_is_gone_on_with(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(LARGE)
    file = server.add(content)
    server.cut_after = 5 * MIB
    async with running(directory, database, server, whole_below=SMALL) as cache:
        await cache.fetch(file)
    assert server.sent == LARGE


async def test_a_bad_answer_does_not_cost_a_large_file_what_it_has(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(LARGE)
    file = server.add(content)
    async with running(directory, database, server, whole_below=SMALL) as cache:
        handle = cache.open(file)
        await handle.read(0, MIB)
        had = cache.usage
        server.refuse = "text/html"
        with pytest.raises(ContentMismatch, match="text/html"):
            await handle.read(20 * MIB, KIB)
        assert cache.usage >= had > 0
        assert await handle.read(0, MIB) == content[:MIB]
        # What else was asked for is refused as well, and told to whoever waits for it.
        await trio.testing.wait_all_tasks_blocked(0.05)
        server.refuse = ""
        assert await handle.read(20 * MIB, KIB) == content[20 * MIB :][:KIB]
        handle.close()


async def test_two_first_ranges_at_once_share_one_file(
    server: Server, directory: Path, database: Database
) -> None:
    """Whichever thread makes the file, the other's bytes are in it."""
    for seed in range(40):
        content = some_bytes(4 * MIB, seed)
        file = server.add(content)
        server.forget_traffic()
        async with running(directory, database, server, whole_below=SMALL) as cache:
            handle = cache.open(file)
            async with trio.open_nursery() as nursery:
                for at in (3 * MIB, 0, 2 * MIB, MIB):
                    nursery.start_soon(handle.read, at, 128 * KIB)
            handle.close()
            assert await read_all(cache, file) == content
        assert server.sent == 4 * MIB
