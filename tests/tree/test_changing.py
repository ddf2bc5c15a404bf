"""Random records in random order: after every page the tree is what the records say (invariants.py)."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from icloudfs.apple.records import Record
from tests.tree.library import DAY, NOW, Library, album, asset, master, member, tombstone

PHOTOS = ["A", "B", "C", "D"]
ALBUMS = ["F", "G", "X", "Y"]

_masters = st.builds(
    lambda name, filename, live, raw: master(f"M{name}", filename, live=live, raw=raw),
    st.sampled_from("AB"),
    st.sampled_from(["IMG_1.HEIC", "img_1.HEIC", "IMG_1.DNG", "Same", "é.jpg"]),
    st.booleans(),
    st.booleans(),
)
_assets = st.builds(
    asset,
    st.sampled_from(PHOTOS),
    st.sampled_from(["MA", "MB"]),
    taken=st.sampled_from([NOW, NOW - 40 * DAY, None]),
    added=st.sampled_from([NOW, NOW + 1, NOW - 40 * DAY]),
    favorite=st.booleans(),
    hidden=st.booleans(),
    deleted=st.booleans(),
    expunged=st.sampled_from([False, False, False, True]),
    edited=st.sampled_from(["", "", "one", "two"]),
    burst=st.sampled_from(["", "", "b"]),
    burst_flags=st.sampled_from([2, 20]),
    modified=st.sampled_from([NOW, NOW + 5000]),
)
_albums = st.builds(
    album,
    st.sampled_from(ALBUMS),
    st.sampled_from(["Same", "same", "IMG_1.HEIC", "…/…"]),
    st.sampled_from(["", "----Root-Folder----", "F", "G", "H", "X"]),
    st.sampled_from([0, 0, 3]),
    deleted=st.sampled_from([False, False, True]),
)
_members = st.builds(
    member, st.sampled_from(ALBUMS), st.sampled_from(PHOTOS), deleted=st.booleans()
)
_dead = st.sampled_from(
    [*PHOTOS, *ALBUMS, "MA", "MB", *(f"{p}-IN-{a}" for p in PHOTOS for a in ALBUMS)]
).map(tombstone)
_records = st.one_of(_masters, _assets, _albums, _members, _dead)
_pages = st.lists(st.lists(_records, min_size=1, max_size=8), min_size=1, max_size=10)


@settings(max_examples=120, deadline=None)
@given(_pages, st.booleans())
def test_any_records_in_any_order(pages: list[list[Record]], listed: bool) -> None:
    with TemporaryDirectory() as directory:
        library = Library(Path(directory), listed=listed)
        for page in pages:
            library.page(*page)
        if not listed:
            library.settle()
        after = library.tree()
        library.page(*pages[-1])
        assert library.changes == []
        assert library.tree() == after
        library.connection.close()
