"""Names at the end of a first listing: decided by age, whatever the order in which pages came."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from icloudfs.apple.records import Record
from icloudfs.tree.settling import contests, no_longer_recent
from tests.tree.library import DAY, NOW, Library, album, asset, member, photo, tombstone

FILENAMES = ["IMG_1.HEIC", "img_1.heic", "IMG_1.MOV", "IMG_1-edited.JPG", "IMG_2.HEIC"]


@st.composite
def photos(draw: st.DrawFn) -> list[Record]:
    """A dozen photos, nearly all of them namesakes, in two months, an album and Favorites."""
    records: list[Record] = [album("X", "Trip"), album("Y", "Trip", created=NOW + 1)]
    for number in range(draw(st.integers(2, 9))):
        name = f"P{number}"
        movie = draw(st.booleans())
        records += photo(
            name,
            draw(st.sampled_from(FILENAMES)),
            uti="com.apple.quicktime-movie" if movie else "public.heic",
            live=not movie and draw(st.booleans()),
            edited=draw(st.sampled_from(["", name])),
            taken=draw(st.sampled_from([NOW, NOW - 40 * DAY])),
            added=draw(st.sampled_from([NOW, NOW + 1, NOW + 2])),
            favorite=draw(st.booleans()),
            hidden=draw(st.integers(0, 5)) == 0,
        )
        if draw(st.booleans()):
            records.append(member("X", name, draw(st.sampled_from([NOW, NOW + number]))))
    return records


def _listed(pages: Sequence[Sequence[Record]]) -> dict[str, tuple[int, str, int]]:
    with TemporaryDirectory() as directory:
        library = Library(Path(directory), listed=False)
        for page in pages:
            library.page(*page)
        library.settle()
        assert contests(library.connection) == 0
        tree = library.tree()
        library.connection.close()
        return tree


@settings(max_examples=60, deadline=None)
@given(photos(), st.integers(0, 2**32))
def test_the_order_of_pages_does_not_matter(records: list[Record], seed: int) -> None:
    chance = random.Random(seed)
    albums, rest = records[:2], records[2:]
    shuffled = chance.sample(rest, len(rest))
    pages = []
    while shuffled:
        size = chance.randint(1, 6)
        pages.append(shuffled[:size])
        shuffled = shuffled[size:]
    assert _listed([albums, *pages]) == _listed([records])


def test_the_one_added_first_keeps_the_plain_name(unlisted: Library) -> None:
    unlisted.page(photo("C", added=NOW + 2, favorite=True))
    unlisted.page(photo("B", added=NOW + 1, favorite=True))
    unlisted.page(photo("A", favorite=True))
    assert unlisted.named("C") == ["IMG_0001.HEIC"]
    unlisted.settle()
    for view in ("Library", "Favorites"):
        assert unlisted.named("A", view) == ["IMG_0001.HEIC"]
        assert unlisted.named("B", view) != ["IMG_0001.HEIC"] != unlisted.named("C", view)


def test_in_an_album_the_one_put_there_first_keeps_it(unlisted: Library) -> None:
    unlisted.page([*photo("A"), *photo("B", added=NOW + 1), album("X")])
    unlisted.page(member("X", "A", NOW + 5))
    unlisted.page(member("X", "B", NOW + 4))
    unlisted.settle()
    assert unlisted.named("B", "Albums") == ["IMG_0001.HEIC"]
    assert unlisted.named("A", "Albums") != ["IMG_0001.HEIC"]


def test_names_of_a_library_that_was_listed_before_stand(library: Library) -> None:
    library.page(photo("A", favorite=True))
    library.page(photo("B", added=NOW - DAY, favorite=True))
    before = library.tree()
    library.add_zone("SharedSync-1", listed=False)
    library.page(photo("C", added=NOW - 2 * DAY, favorite=True), zone="SharedSync-1")
    library.page(photo("D", added=NOW - 3 * DAY, favorite=True), zone="SharedSync-1")
    library.settle("SharedSync-1")
    assert before.items() <= {
        p: v for p, v in library.tree().items() if p in before
    }.items() or all(p in library.tree() for p in before)
    assert library.named("C", "Shared Library") != ["IMG_0001.HEIC"]
    assert library.named("D", "Shared Library") == ["IMG_0001.HEIC"]
    assert library.named("A", "Favorites") == ["IMG_0001.HEIC"]


def test_a_contestant_that_is_gone_before_the_end(unlisted: Library) -> None:
    unlisted.page(photo("A", added=NOW + 1))
    unlisted.page(photo("B"))
    unlisted.page(tombstone("A"), tombstone("MA"))
    unlisted.settle()
    assert unlisted.named("B") == ["IMG_0001.HEIC"]


def test_photos_stop_being_recent(library: Library) -> None:
    library.page(photo("A"))
    assert no_longer_recent(library.connection, NOW + 29 * DAY) == []
    (ident,) = no_longer_recent(library.connection, NOW + 30 * DAY)
    assert library.connection.execute(
        "SELECT name FROM asset WHERE id = ?", (ident,)
    ).fetchall() == [("A",)]


def test_a_new_listing_decides_nothing_again(library: Library) -> None:
    library.page(photo("A", added=NOW + 1))
    library.page(photo("B"))
    library.page(asset("B", favorite=True))
    assert contests(library.connection) == 0
