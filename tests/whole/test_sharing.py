"""A photo is one file, wherever it appears: one inode, one look-up, one download."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.scratch import Scratch
from tests.whole.library import Library, checksum_of
from tests.whole.local_icloud import LocalICloud

READER = """
import hashlib, sys
sys.stdin.readline()
print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())
"""

LOOKUPS = 2
"""One for the photo, and one, which nobody waits for, of those around it."""


def read_at_once(scratch: Scratch, paths: list[Path]) -> set[str]:
    """One process a path, all let go together; the SHA-256 of what they read."""
    readers = [
        scratch.start(
            sys.executable, "-c", READER, path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for path in paths
    ]
    for reader in readers:
        assert reader.stdin is not None
        reader.stdin.write("\n")
        reader.stdin.flush()
    return {reader.communicate(timeout=60)[0].strip() for reader in readers}


def test_ten_processes_one_lookup_one_download(
    library: Library, icloud: LocalICloud, scratch: Scratch
) -> None:
    library.mount()
    photo = library.uncached(r"\.(HEIC|JPG)$", at_least=200_000)
    checksum, size = checksum_of(photo), photo.stat().st_size

    sums = read_at_once(scratch, [photo] * 10)

    assert len(sums) == 1
    assert len(icloud.calls(path="records/lookup")) <= LOOKUPS
    assert icloud.sent(checksum) == size
    # The readers' first small reads ask for the head, and the larger ones that follow for the rest;
    # no byte is in both.
    ranges = [call["range"] for call in icloud.calls(kind="content")]
    assert len(ranges) <= 2, ranges
    assert photo.read_bytes() == library.truth(photo)


def test_ten_processes_read_one_large_video_once(
    library: Library, icloud: LocalICloud, scratch: Scratch
) -> None:
    library.mount()
    video = next(path for path in library.files("Videos") if path.stat().st_size > 33 << 20)

    sums = read_at_once(scratch, [video] * 10)

    assert len(sums) == 1
    assert len(icloud.calls(path="records/lookup")) <= LOOKUPS
    assert icloud.sent(checksum_of(video)) == video.stat().st_size
    print(f"\n{len(icloud.calls(kind='content'))} GETs for {video.stat().st_size} bytes")


def test_a_photo_in_three_albums_is_one_file(
    library: Library, icloud: LocalICloud, scratch: Scratch
) -> None:
    entry = next(e for e in icloud.manifest() if len(e["albums"]) >= 3 and not e["adjustment"])
    original = entry["renditions"][0]
    library.mount()
    places = [p for p in library.files_of(entry["asset"]) if checksum_of(p) == original["checksum"]]
    stats = [path.stat() for path in places]

    assert len([place for place in places if "Albums" in place.parts]) == len(entry["albums"])
    assert len({info.st_ino for info in stats}) == 1
    assert {info.st_nlink for info in stats} == {len(places)}

    read_at_once(scratch, places)

    assert icloud.sent(original["checksum"]) == original["size"]
    assert len(icloud.calls(path="records/lookup")) <= LOOKUPS
    together = scratch.run("du", "--bytes", "--total", *places).stdout.splitlines()[-1]
    assert int(together.split()[0]) == original["size"]


def test_du_counts_every_photo_once(mounted: Library, scratch: Scratch) -> None:
    total = scratch.run("du", "--bytes", "--summarize", mounted.mount_point).stdout
    directories = scratch.run("find", mounted.mount_point, "-type", "d", "-printf", "%s\n").stdout

    files = int(total.split()[0]) - sum(map(int, directories.split()))
    assert files == mounted.status()["assets"]["bytes"]


def test_two_assets_of_one_master_share_one_download(library: Library, icloud: LocalICloud) -> None:
    """iOS's Duplicate: two photos, two files, one content."""
    entries = icloud.manifest()
    masters = [entry["master"] for entry in entries if not entry["deleted"]]
    twins = [e for e in entries if masters.count(e["master"]) == 2 and not e["deleted"]]
    library.mount()
    files = [library.files_of(entry["asset"], "Library")[0] for entry in twins]

    contents = [path.read_bytes() for path in files]

    assert len(files) == 2 and files[0].stat().st_ino != files[1].stat().st_ino
    assert contents[0] == contents[1] == library.truth(files[0])
    assert icloud.sent(checksum_of(files[0])) == len(contents[0])
