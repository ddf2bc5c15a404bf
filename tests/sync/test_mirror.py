"""What each mirror policy asks for, newest first, and what of it is here already."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from icloudfs.state import contents
from icloudfs.sync import mirror
from icloudfs.sync.mirror import Mirror
from icloudfs.tree.directory import Directory, File
from tests.sync.account import Client, Lab, lab

_DAY = 86_400_000


@asynccontextmanager
async def _listed(directory: Path) -> AsyncIterator[tuple[Lab, Client]]:
    async with lab(directory) as account:
        client = account.client()
        await client.sync()
        yield account, client


async def _wanted(client: Client, policy: Mirror, now: int = 0) -> list[File]:
    return [file async for file in mirror.wanting(client.database, policy, now)]


@pytest.mark.parametrize("page", [1, 7, 1000])
async def test_everything_is_every_file_once_newest_first(
    tmp_path: Path, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "_PAGE", page)
    async with _listed(tmp_path) as (_, client):
        wanted = [file.ino for file in await _wanted(client, Mirror("everything"))]
        shown = client.reader.execute(
            "SELECT ino FROM inode WHERE asset IS NOT NULL AND nlink > 0 ORDER BY ino DESC"
        )
        assert wanted == [ino for (ino,) in shown]
        assert len(wanted) > 40


async def test_demand_is_nothing(tmp_path: Path) -> None:
    async with _listed(tmp_path) as (_, client):
        assert await _wanted(client, Mirror("demand")) == []
        assert mirror.need(client.reader, Mirror("demand"), 0) == mirror.Need(0, 0)


async def test_newest_are_those_taken_since(tmp_path: Path) -> None:
    async with _listed(tmp_path) as (account, client):
        zone = account.simulator.cloud.zone("PrimarySync")
        taken = max(asset.taken or 0 for asset in zone.assets())
        account.phone.add_photo("jpeg", taken=taken + 40 * _DAY)
        account.phone.add_photo("jpeg", taken=taken + 60 * _DAY)
        await client.sync()
        policy = Mirror("newest", days=30)
        wanted = await _wanted(client, policy, now=taken + 80 * _DAY)
        times = {
            int(str(time))
            for file in wanted
            for (time,) in client.reader.execute(
                "SELECT taken FROM asset WHERE name = ?", (file.asset,)
            )
        }
        assert taken + 60 * _DAY in times
        assert min(times) > taken + 50 * _DAY
        assert mirror.need(client.reader, policy, taken + 80 * _DAY).files == len(
            {file.checksum for file in wanted}
        )


async def test_albums_are_what_their_directories_show(tmp_path: Path) -> None:
    async with _listed(tmp_path) as (account, client):
        photos = [account.phone.add_photo("live").asset for _ in range(3)]
        folder = account.phone.create_album("Trips", None, 3)
        album = account.phone.create_album("Norway", folder, 0)
        for photo in photos[:2]:
            account.phone.add_to_album(photo, album)
        await client.sync()
        for named in ("Trips/Norway", "Trips"):
            wanted = await _wanted(client, Mirror("albums", albums=(named,)))
            assert {file.asset for file in wanted} == set(photos[:2])
            assert len(wanted) == 4  # each with its video
        assert await _wanted(client, Mirror("albums", albums=("Elsewhere",))) == []
        assert mirror.unknown_albums(
            client.reader, Mirror("albums", albums=("Trips", "Elsewhere", "Trips/Norway"))
        ) == ["Elsewhere"]


async def test_favorites_follow_the_phone(tmp_path: Path) -> None:
    async with _listed(tmp_path) as (account, client):
        before = {file.asset for file in await _wanted(client, Mirror("favorites"))}
        photo = account.phone.add_photo("jpeg").asset
        account.phone.favorite(photo)
        await client.sync()
        after = {file.asset for file in await _wanted(client, Mirror("favorites"))}
        assert after == before | {photo}


async def test_what_is_here_is_not_asked_for(tmp_path: Path) -> None:
    async with _listed(tmp_path) as (_, client):
        policy = Mirror("everything")
        whole = mirror.need(client.reader, policy, 0)
        first = (await _wanted(client, policy))[0]
        client.database.write_now(
            lambda c: contents.set_downloaded(
                c, first.checksum, first.size, "somewhere", sha256="", verified=True, now=0
            )
        )
        rest = mirror.need(client.reader, policy, 0)
        assert rest == mirror.Need(whole.files - 1, whole.bytes - first.size)
        assert first.checksum not in {file.checksum for file in await _wanted(client, policy)}
        assert Directory(client.reader).file(first.ino) == first
