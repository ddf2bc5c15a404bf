"""File names: legal whatever iCloud calls a photo, and the same again when they are made again."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icloudfs.apple.records import Rendition
from icloudfs.tree import names
from icloudfs.tree.names import Stem, file_name, fold, numbered, sanitise, stem_of, suffix_of

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("IMG_0001.HEIC", "IMG_0001.HEIC"),
        ("Urlaub/Strand.JPG", "Urlaub_Strand.JPG"),
        ("Cafe\u0301.JPG", "Café.JPG"),
        ("line\nbreak\x00\x01\x7f.JPG", "line_break___.JPG"),
        ("c1\u0085.JPG", "c1_.JPG"),
        ("Screenshot at 4.05\u202fPM.png", "Screenshot at 4.05 PM.png"),
        ("Bild\u00a01.png", "Bild 1.png"),
        ("trailing dot..JPG.", "trailing dot.JPG"),
        ("blank .JPG ", "blank.JPG"),
        (".hidden.JPG", ".hidden.JPG"),
        ("no extension", "no extension.HEIC"),
        ("IMG.1", "IMG.1.HEIC"),
        ("a.b.c.jpeg", "a.b.c.jpeg"),
        ("…", "….HEIC"),
    ],
)
def test_what_iCloud_calls_it_and_what_is_shown(given_name: str, shown: str) -> None:  # noqa: N802
    assert _original(given_name) == shown


@pytest.mark.parametrize("nameless", ["", ".", "..", " . ", ".JPG"])
def test_a_name_is_never_empty(nameless: str) -> None:
    stem = stem_of(nameless, "public.jpeg", "ASSET")
    assert stem.text.strip(". ") and stem.extension


def test_a_type_nobody_knows() -> None:
    assert stem_of("X", "com.acme.film", "A") == Stem("X", "BIN")
    assert stem_of("X.xyz", "com.acme.film", "A") == Stem("X", "xyz")
    assert stem_of("X.xyz", "public.jpeg", "A") == Stem("X.xyz", "JPG")


@given(ANY_TEXT, st.sampled_from(["", "public.heic", "x.y"]), st.sampled_from(["", "abcdefg"]))
def test_any_text_gives_a_legal_name(text: str, uti: str, suffix: str) -> None:
    stem = stem_of(text, uti, "ASSET")
    for rendition in Rendition:
        name = file_name(stem, rendition, stem.extension, suffix)
        encoded = name.encode()
        assert 0 < len(encoded) <= names.LONGEST
        assert "/" not in name and name not in (".", "..")
        assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
        assert unicodedata.normalize("NFC", name) == name
        assert name == name.rstrip(". ")
        assert name.rpartition(".")[2] == stem.extension and name.rpartition(".")[0]


@given(ANY_TEXT, st.sampled_from(["", "public.heic"]))
def test_naming_twice_is_naming_once(text: str, uti: str) -> None:
    name = _original(text, uti)
    assert _original(name, uti) == name
    assert sanitise(sanitise(text)) == sanitise(text)


@given(ANY_TEXT)
def test_the_short_ways_agree_with_the_long_ones(text: str) -> None:
    ascii_text = text.encode("ascii", "ignore").decode()
    composed = unicodedata.normalize("NFC", ascii_text)
    assert fold(ascii_text) == unicodedata.normalize("NFC", composed.casefold())
    by_hand = "".join("_" if c == "/" or unicodedata.category(c) == "Cc" else c for c in ascii_text)
    assert sanitise(ascii_text) == by_hand.rstrip(". ")


@given(ANY_TEXT)
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_a_long_name_is_cut_between_characters_and_keeps_its_end() -> None:
    stem = Stem("日本語" * 60, "JPG")
    name = file_name(stem, Rendition.EDITED, "JPG", "abcdefg")
    assert name.endswith("_abcdefg-edited.JPG")
    assert 252 < len(name.encode()) <= 255


def test_numbers_and_suffixes() -> None:
    assert numbered("Trip", 1) == "Trip" and numbered("Trip", 2) == "Trip (2)"
    assert len(numbered("é" * 200, 12).encode()) <= 255
    assert len(suffix_of("A")) == 7 and suffix_of("A") != suffix_of("B")
    assert (suffix_of("A").isalnum() and suffix_of("A").islower()) or suffix_of("A").isdigit()


def test_extensions_follow_the_original() -> None:
    assert names.extension_like(Stem("x", "heic"), "MOV") == "mov"
    assert names.extension_like(Stem("x", "HEIC"), "mov") == "MOV"
    assert file_name(Stem("x", "DNG"), Rendition.ALTERNATE, "DNG") == "x-alt.DNG"


def _original(text: str, uti: str = "public.heic") -> str:
    stem = stem_of(text, uti, "ASSET")
    return file_name(stem, Rendition.ORIGINAL, stem.extension)
