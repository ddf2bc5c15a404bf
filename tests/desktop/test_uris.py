from __future__ import annotations

import hashlib

import pytest

from icloudfs.desktop.uris import entry, gwenview_uri, uris


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("/a/IMG_1 (2).JPG", "file:///a/IMG_1%20(2).JPG"),
        ("/a/Mum & Dad's!.JPG", "file:///a/Mum%20&%20Dad's!.JPG"),
        ("/a/x$*+,:=@~-._y", "file:///a/x$*+,:=@~-._y"),
        ("/a/50%#?.JPG", "file:///a/50%25%23%3F.JPG"),
        ('/a/"<>\\^`{|}.JPG', "file:///a/%22%3C%3E%5C%5E%60%7B%7C%7D.JPG"),
        ("/é/日😀.JPG", "file:///%C3%A9/%E6%97%A5%F0%9F%98%80.JPG"),
    ],
)
def test_as_glib_and_qt_write_it(path: str, uri: str) -> None:
    """The forms are those that both gave (facts/desktop.md §1.2)."""
    assert uris(path.encode()) == [uri]


def test_the_three_characters_that_qt_leaves_alone() -> None:
    assert uris(b"/a;[1]") == ["file:///a%3B%5B1%5D", "file:///a;[1]"]


def test_as_gwenview_writes_it() -> None:
    """The form is the one that it gave."""
    path = "/é/Mum & Dad/50% #1? [2].JPG"
    assert gwenview_uri(path.encode()) == "file:///é/Mum & Dad/50%25 %231%3F [2].JPG"


def test_the_name_of_the_entry() -> None:
    """The example of the thumbnail standard."""
    assert entry("file:///home/jens/photos/me.png") == "c6ee772d9e49320e97ec29a7eb5b1697.png"
    assert entry("file:///a") == hashlib.md5(b"file:///a").hexdigest() + ".png"
