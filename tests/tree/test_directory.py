from __future__ import annotations

from icloudfs.tree.directory import Directory
from tests.tree.library import Library, photo


def test_nearby_are_those_that_arrived_before_and_after(library: Library) -> None:
    names = [f"A{number}" for number in range(9)]
    for name in names:
        library.page(photo(name))
    directory = Directory(library.connection)
    inos = [directory.files_of_asset(name)[0].ino for name in names]
    assert [file.asset for file in directory.nearby(inos[4], 2)] == ["A2", "A3", "A5", "A6"]
    assert [file.asset for file in directory.nearby(inos[0], 2)] == ["A1", "A2"]
    assert [file.asset for file in directory.nearby(inos[8], 2)] == ["A6", "A7"]
    assert directory.nearby(inos[4], 0) == []
