"""What the mount itself serves is never used in the place of a photo, by whatever way it is shown.

To read it, the daemon would wait for whoever shows it, they for the mount, and the mount for the daemon: beyond
``kill -9``, and again after each start.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.below import below
from tests.whole.library import Library

Show = Callable[[Path, Path], None]


def _bindfs(folder: Path, at: Path) -> None:
    subprocess.run(["bindfs", "--no-allow-other", "-o", "nonempty", folder, at], check=True)


def _mergerfs(folder: Path, at: Path) -> None:
    beside = at.with_name("beside")
    beside.mkdir(exist_ok=True)
    subprocess.run(["mergerfs", "-o", "nonempty", f"{beside}:{folder}", at], check=True)


def _overlay(folder: Path, at: Path) -> None:
    beside = at.with_name("beside")
    beside.mkdir(exist_ok=True)
    lower = f"lowerdir={beside}:{folder}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", lower, at], check=True)


def _bind(folder: Path, at: Path) -> None:
    subprocess.run(["mount", "--bind", folder, at], check=True)


@pytest.fixture(params=[_bindfs, _mergerfs, _overlay, _bind])
def show(request: pytest.FixtureRequest) -> Show:
    chosen: Show = request.param
    return chosen


@contextmanager
def shown(show: Show, folder: Path, at: Path) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    show(folder, at)
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", at], check=True)


def _photo(library: Library) -> Path:
    return library.uncached(r"\.(JPG|HEIC)$")


def _read(library: Library, photo: Path) -> Path:
    """Read it as a program that can be given up on; what came."""
    copy = library.mount_point.parent / "copy"
    library.scratch.run("timeout", "-s", "KILL", "20", "cp", photo, copy)
    return copy


def test_an_import_leaves_it_alone(library: Library, show: Show) -> None:
    library.mount()
    photo = _photo(library)

    with shown(show, photo.parent, library.mount_point.parent / "again") as again:
        done = library.icloudfs("import-existing", "-d", again, "--json", check=False)

        assert "the mounted library" in done.stdout + done.stderr
        with library.database() as database:
            assert database.execute("SELECT * FROM content WHERE path LIKE '/%'").fetchall() == []
        assert _read(library, photo).read_bytes() == library.truth(photo)
        library.kill()
    library.scratch.run("umount", "-l", library.mount_point)


def test_what_was_imported_is_not_read_once_it_comes_from_there(
    library: Library, show: Show
) -> None:
    """A directory of imported photos, over which the library is shown, before the next start or after it."""
    pictures = library.mount_point.parent / "pictures"
    pictures.mkdir()
    library.mount()
    photo = _photo(library)
    month = photo.parent
    (pictures / photo.name).write_bytes(library.truth(photo))
    library.icloudfs("import-existing", "-d", pictures)
    library.unmount()
    library.mount()
    with shown(show, month, pictures):
        assert _read(library, photo).read_bytes() == library.truth(photo)
        library.kill()
    library.scratch.run("umount", "-l", library.mount_point)


def test_what_others_show_is_imported(library: Library) -> None:
    """As on a machine whose disks are merged."""
    home = library.mount_point.parent
    library.mount()
    photo = _photo(library)
    with below(home / "below", home / "pictures") as disk:
        (disk.path / photo.name).write_bytes(library.truth(photo))
        done = library.icloudfs("import-existing", "-d", disk.path, "--json")

        assert json.loads(done.stdout)["matched"] == 1
        assert _read(library, photo).read_bytes() == library.truth(photo)
        assert library.icloud.control.traffic(log=False)["content_bytes"] == {}
        library.unmount()


def test_what_may_show_the_library_without_asking_it_is_copied_only(library: Library) -> None:
    """rclone knows the names of a directory by heart: whom it shows is not asked for one that it has not."""
    home = library.mount_point.parent
    library.mount()
    photo = _photo(library)
    with below(home / "below", home / "pictures", ",subtype=rclone") as disk:
        (disk.path / photo.name).write_bytes(library.truth(photo))
        matching = ("import-existing", "-d", disk.path, "--match", "name-size")
        refused = library.icloudfs(*matching, check=False)
        assert "may be the mounted library" in refused.stderr
        with library.database() as database:
            assert database.execute("SELECT * FROM content WHERE path LIKE '/%'").fetchall() == []

        assert json.loads(library.icloudfs(*matching, "--copy", "--json").stdout)["matched"] == 1
        library.unmount()
