"""Which files are shown, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from icloudfs.desktop import windows as module
from icloudfs.desktop.windows import Windows
from icloudfs.tree.directory import ROOT, Directory
from tests.mount.library import Library


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    library = Library(tmp_path / "me.db")
    yield library
    library.close()


@pytest.fixture
def windows(library: Library) -> Windows:
    return Windows(Directory(library.connection))


def test_the_files_of_a_folder_go_by_name_and_those_on_icons_come_last(
    library: Library, windows: Windows
) -> None:
    year = library.directory(ROOT, "2024")
    month = library.directory(year, "05")
    on_icon = [library.file(month, f"{n}.JPG") for n in (6, 5, 4, 3, 2, 1)]
    last, first = library.file(year, "b.JPG"), library.file(year, "a.JPG")

    own = [(b"2024/a.JPG", first), (b"2024/b.JPG", last)]
    assert list(windows.files_in(year)) == own
    # Of the folder in it the first four, in the order that it has them in.
    icon = [(b"2024/05/%d.JPG" % n, ino) for n, ino in zip((6, 5, 4, 3), on_icon, strict=False)]
    assert list(windows.on_icon(month)) == icon
    assert list(windows.everything_in(year)) == own + icon


def test_no_more_of_a_folder_than_somebody_looks_at(
    library: Library, windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 3)
    folder = library.directory(ROOT, "A")
    for n in range(5):
        library.file(folder, f"{n}.JPG")
    assert [path for path, _ in windows.files_in(folder)] == [b"A/0.JPG", b"A/1.JPG", b"A/2.JPG"]


def test_a_file_is_shown_where_a_folder_was_opened_last(
    library: Library, windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    folders = [library.directory(ROOT, name) for name in "ABC"]
    ino = library.file(folders[0], "1.JPG")
    for folder in folders[1:]:
        library.link(ino, folder, "1.JPG")

    assert list(windows.places_shown(ino)) == []
    for folder in (*folders, folders[1]):
        windows.opened(folder)
    assert set(windows.places_shown(ino)) == {(b"B/1.JPG", ino), (b"C/1.JPG", ino)}
    assert [windows.show(folder) for folder in folders] == [False, True, True]


def test_the_newest_and_the_first_of_each_album_are_likely(
    library: Library, windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_NEWEST", 1)
    old = library.file(library.directory(ROOT, "Library"), "old.JPG")
    album = library.directory(library.directory(ROOT, "Albums"), "Álbum")
    inside = library.file(album, "inside.JPG")
    likely = list(windows.likely())
    assert len(likely) == 2 and (b"\xc3\x81lbum/inside.JPG", inside) not in likely
    assert {ino for _, ino in likely} <= {old, inside}
    assert likely[-1] == ("Albums/Álbum/inside.JPG".encode(), inside)
