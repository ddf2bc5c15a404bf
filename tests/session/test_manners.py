"""What a desktop does with a disk, it can do with the mount: eject it, see its room, and throw nothing away."""

from __future__ import annotations

from tests.filemanagers.album import Album
from tests.scratch import wait_until
from tests.session.conftest import Begin


def test_a_photo_cannot_be_put_into_the_trash(begin: Begin, many: Album) -> None:
    photos = begin("trash")
    photos.icloudfs("mount", photos.mount_point)
    photo = photos.folder_of(many) / "IMG_7001.HEIC"

    done = photos.person.run("gio", "trash", photo, check=False)

    assert done.returncode != 0 and "trash" in done.stderr.lower()
    names = photos.person.run("ls", "-A", photos.mount_point, photo.parent).stdout
    assert photo.name in names and ".Trash" not in names
    photos.unmount()


def test_it_can_be_ejected(begin: Begin, notes: list[str]) -> None:
    """As the button beside its name does; ``df`` tells how much room there is before."""
    photos = begin("eject")
    person, place = photos.person, str(photos.mount_point)
    photos.icloudfs("mount", photos.mount_point)
    used = person.run("df", "--output=fstype,pcent", place).stdout.splitlines()[1].split()
    assert used[0] == "fuse.icloudfs" and used[1] != "100%"
    notes.append(f"df: {' '.join(used)}")

    person.run("gio", "mount", "--unmount", place)

    wait_until(lambda: place not in person.scratch.mounts())
    wait_until(lambda: not person.processes_of("icloudfs"))
