"""Albums and folders, however deep: each folder is a part that may be refused by itself."""

from __future__ import annotations

from functools import partial

from icloudfs.apple import ZoneError, ZoneProblem
from icloudfs.apple.cloudkit import FOLDER
from icloudfs.apple.course import NO_END
from icloudfs.apple.records import Album, Refused
from icloudfs.state.catalogue import StoredZone
from icloudfs.sync.books import Books
from icloudfs.sync.refusals import ALBUMS, folder_part
from icloudfs.tree.albums import MOST_DEEP

MOST_FOLDERS = 10_000
"""Of one library; folders without end are a mistake."""
_ENDLESS = ZoneError(ZoneProblem.TRANSIENT, NO_END, "there are folders without end")


async def albums_below(books: Books, zone: StoredZone, top: str | None = None) -> list[Album]:
    """Every album and folder of a zone, or those in one folder, folders before what is in them.

    What is in a folder that is refused, or in one beyond ``MOST_FOLDERS`` or ``MOST_DEEP``, is left out; that
    is noted. Raises what the photo service raises if nothing else is answered either.
    """
    parts = books.refusals.of_zone(zone.zone)
    found: dict[str, Album] = {}
    folders: list[tuple[str | None, str, int]] = [(top, "", 0)]
    asked, endless = 0, False
    while folders and asked < MOST_FOLDERS:
        name, title, deep = folders.pop()
        if deep > MOST_DEEP:
            endless = True
            continue
        asked += 1
        part = ALBUMS if name is None else folder_part(name)
        inside = await parts.ask(
            part, partial(_albums_in, books, zone, name), told=_told(name, title)
        )
        if inside is None:
            continue
        if withheld := next((one for one in inside if isinstance(one, Refused)), None):
            # It may be a folder, and nothing but its list tells what is in it: that is asked for again.
            error = ZoneError(ZoneProblem.TRANSIENT, withheld.code, withheld.reason)
            await parts.note(part, error, told=_told(name, title))
        await parts.settle(part)
        albums = [album for album in inside if isinstance(album, Album)]
        new = [album for album in albums if album.name not in found]
        found |= {album.name: album for album in new}
        folders += [(album.name, album.title, deep + 1) for album in new if album.kind == FOLDER]
    if folders or endless:
        # What was given is right all the same, and what was not is asked for again.
        await parts.note(ALBUMS if top is None else folder_part(top), _ENDLESS)
    return list(found.values())


async def _albums_in(
    books: Books, zone: StoredZone, folder: str | None
) -> tuple[Album | Refused, ...]:
    async with books.requests:
        return await books.photos.albums(zone.zone, folder)


def _told(name: str | None, title: str) -> str:
    return "" if name is None else f"the folder '{title or name}'"
