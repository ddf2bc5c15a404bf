from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from icloudfs.apple.records import Rendition
from icloudfs.cache.source import NAMES_A_LOOKUP
from icloudfs.cache.urls import AFTER, FreshURLs
from icloudfs.errors import ContentUnavailable, Offline
from tests.cache.server import SHARED, ZONE, Server


@asynccontextmanager
async def _urls(server: Server, timeout: float = 5.0) -> AsyncIterator[FreshURLs]:
    async with trio.open_nursery() as nursery:
        yield FreshURLs(server, nursery, timeout)
        nursery.cancel_scope.cancel()


async def test_one_call_a_zone_and_no_more_names_than_it_takes(server: Server) -> None:
    files = [server.add(b"%d" % n) for n in range(NAMES_A_LOOKUP + 1)]
    shared = server.add(b"shared", zone=SHARED)
    async with _urls(server) as urls, trio.open_nursery() as nursery:
        for file in [*files, shared, *files]:
            nursery.start_soon(urls.url, file)
    assert sorted(map(len, server.lookups)) == [1, 1, NAMES_A_LOOKUP]


async def test_who_comes_a_moment_later_is_in_the_same_call(
    server: Server, autojump_clock: trio.testing.MockClock
) -> None:
    files = [server.add(b"%d" % n) for n in range(20)]
    async with _urls(server) as urls, trio.open_nursery() as nursery:
        for file in files:
            nursery.start_soon(urls.url, file)
            for _ in range(4):
                await trio.lowlevel.checkpoint()
    assert [len(names) for names in server.lookups] == [20]


async def test_who_comes_alone_waits_for_nobody(
    server: Server, autojump_clock: trio.testing.MockClock
) -> None:
    async with _urls(server) as urls:
        began = trio.current_time()
        await urls.url(server.add(b"content"))
        assert trio.current_time() == began


async def test_who_opens_one_waits_no_more_for_those_around_it(
    server: Server, autojump_clock: trio.testing.MockClock
) -> None:
    files = [server.add(b"%d" % n) for n in range(30)]
    strange = server.add(b"shared", zone=SHARED)
    server.look_up_takes = 1.0
    async with trio.open_nursery() as nursery:
        urls = FreshURLs(server, nursery, 5.0, lambda _: [*files, strange])
        assert await urls.url(files[7])
        await trio.sleep(2 * AFTER)
        # The next one waits for the call that is under way, and causes none.
        assert await urls.url(files[8])
        for file in files:
            assert await urls.url(file)
        assert [len(names) for names in server.lookups] == [1, 29]
        # All but one are known now: not worth a call.
        urls.forget(files[7])
        assert await urls.url(files[7])
        await trio.sleep(2 * AFTER)
        assert [len(names) for names in server.lookups] == [1, 29, 1]


async def test_what_was_asked_for_goes_before_what_lies_around_it(
    server: Server, autojump_clock: trio.testing.MockClock
) -> None:
    files = [server.add(b"%d" % n) for n in range(30)]
    async with trio.open_nursery() as nursery:
        urls = FreshURLs(server, nursery, 5.0, lambda _: files)
        # Those that are opened at once are looked up for themselves, and only once.
        assert await urls.url(files[7]) and await urls.url(files[8])
        await trio.sleep(0.9 * AFTER)
        assert [len(names) for names in server.lookups] == [1, 1]
        await trio.sleep(0.2 * AFTER)
        assert [len(names) for names in server.lookups] == [1, 1, 28]


async def test_nobody_minds_what_becomes_of_those_around_it(
    server: Server, autojump_clock: trio.testing.MockClock
) -> None:
    files = [server.add(b"%d" % n) for n in range(12)]
    async with trio.open_nursery() as nursery:
        urls = FreshURLs(server, nursery, 5.0, lambda _: files)
        assert await urls.url(files[0])
        server.away = True
        await trio.sleep(2 * AFTER)
        server.away = False
        assert await urls.url(files[1])
        server.remove(files[2])
        with pytest.raises(ContentUnavailable):
            urls.forget(files[2])
            await urls.url(files[2])


async def test_a_url_is_kept_until_it_is_forgotten(server: Server) -> None:
    file = server.add(b"content")
    async with _urls(server) as urls:
        first = await urls.url(file)
        assert await urls.url(file) == first and len(server.lookups) == 1
        urls.forget(file)
        assert await urls.url(file) != first and len(server.lookups) == 2


async def test_or_for_five_minutes(server: Server, autojump_clock: trio.testing.MockClock) -> None:
    file = server.add(b"content")
    async with _urls(server) as urls:
        await urls.url(file)
        await trio.sleep(299)
        await urls.url(file)
        assert len(server.lookups) == 1
        await trio.sleep(2)
        await urls.url(file)
        assert len(server.lookups) == 2


async def test_one_bad_record_does_not_spoil_the_others(server: Server) -> None:
    good, gone = server.add(b"good"), server.add(b"gone")
    server.remove(gone)
    async with _urls(server) as urls, trio.open_nursery() as nursery:

        async def fails() -> None:
            with pytest.raises(ContentUnavailable):
                await urls.url(gone)

        nursery.start_soon(fails)
        assert await urls.url(good)
    assert [len(names) for names in server.lookups] == [2]


async def test_a_reader_that_goes_away_leaves_the_look_up_to_the_others(server: Server) -> None:
    file = server.add(b"content")
    server.look_up_takes = 0.1
    async with _urls(server) as urls:
        with trio.move_on_after(0.05):
            await urls.url(file)
        assert await urls.url(file)
    assert server.lookups == [[file.master]]


async def test_a_failed_look_up_is_not_remembered(server: Server) -> None:
    file = server.add(b"content")
    server.away = True
    async with _urls(server) as urls:
        with pytest.raises(Offline):
            await urls.url(file)
        server.away = False
        assert await urls.url(file)


async def test_a_look_up_ends(server: Server, autojump_clock: trio.testing.MockClock) -> None:
    file = server.add(b"content", zone=ZONE)
    server.silent = True
    async with _urls(server, timeout=30) as urls:
        with trio.fail_after(31), pytest.raises(Offline, match="30 seconds"):
            await urls.url(file)


async def test_a_content_is_found_under_whatever_prefix_the_record_has_it(server: Server) -> None:
    preview = server.add(b"preview", rendition=Rendition.PREVIEW, prefix="resJPEGMed")
    moved = server.add(b"moved", prefix="resOriginalAlt")
    async with _urls(server) as urls:
        for file in (preview, moved):
            assert await urls.url(file)
            assert await urls.url(file)
            assert (await urls.beside(file)).keys()
        assert len(server.lookups) == 2  # what was found counts as known
        gone = server.add(b"gone", prefix="resOriginalAlt")
        server.replace(gone, b"another")
        with pytest.raises(ContentUnavailable, match="changed in iCloud"):
            await urls.url(gone)


async def test_the_video_of_an_edited_live_photo_is_on_the_asset(server: Server) -> None:
    file = server.add(b"video", rendition=Rendition.EDITED_LIVE_VIDEO)
    async with _urls(server) as urls:
        assert await urls.url(file)
    assert server.lookups == [[file.asset]]
