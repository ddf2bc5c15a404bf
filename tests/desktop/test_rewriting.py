from __future__ import annotations

from typing import Any

import pytest

from icloudfs.desktop.rewriting import (
    with_excluded,
    with_filesystem,
    with_plugins_excluded,
    without_excluded,
    without_filesystem,
    without_plugins_excluded,
)
from icloudfs.pathtext import is_text
from tests.odd import NAMES

UPDATEDB = 'PRUNE_BIND_MOUNTS="yes"\nPRUNEFS="NFS afs fuse.sshfs"\n'
BALOO = "[Basic Settings]\nIndexing-Enabled=true\n\n[General]\ndbVersion=2\nexclude folders[$e]=$HOME/x/\n"


def test_updatedb() -> None:
    done = with_filesystem(UPDATEDB)
    assert done == UPDATEDB.replace("fuse.sshfs", "fuse.sshfs fuse.icloudfs")
    assert with_filesystem(done) == done
    assert without_filesystem(done) == UPDATEDB
    assert with_filesystem("# nothing\n") == "# nothing\n"


def test_baloo() -> None:
    done = with_excluded(BALOO, ["/home/me/Photos", "/a,b $c"])
    assert done.splitlines()[-1] == ("exclude folders[$e]=$HOME/x/,/home/me/Photos/,/a\\,b $$c/")
    assert with_excluded(done, ["/home/me/Photos", "/a,b $c"]) == done
    assert without_excluded(done, ["/home/me/Photos", "/a,b $c"]) == BALOO
    assert with_excluded("", ["/p"]) == "[General]\nexclude folders[$e]=/p/\n"


def test_tumbler() -> None:
    text = "[JPEGThumbnailer]\nPriority=3\nExcludes=/mine\n\n[DesktopThumbnailer]\nPriority=1\nExcludes=\n"
    done = with_plugins_excluded(text, ["/home/me/Photos", "/a;b"])
    assert "[JPEGThumbnailer]\nPriority=3\nExcludes=/mine;/home/me/Photos;/a\\;b\n" in done
    for plugin in ("Pixbuf", "Raw", "Ffmpeg", "Gst"):
        assert f"[{plugin}Thumbnailer]\nExcludes=/home/me/Photos;/a\\;b\n" in done
    # What asks for small pictures is one of these, and others work beside it in other folders.
    assert "[DesktopThumbnailer]\nPriority=1\nExcludes=\n" in done
    assert with_plugins_excluded(done, ["/home/me/Photos"]) == done

    undone = without_plugins_excluded(done, ["/home/me/Photos", "/a;b"])
    assert undone.startswith(text)
    assert "Photos" not in undone and "/a" not in undone


# -- what others wrote is theirs, byte for byte ------------------------------------------------------

THEIRS = "[General]\ndbVersion=2\nnote=a\u2028b\x0cc\u0085d\x1ce \n\n[JPEGThumbnailer]\nPriority=3"
AS_WRITTEN = {
    "as here": THEIRS + "\n",
    "no end": THEIRS,
    "CRLF": THEIRS.replace("\n", "\r\n") + "\r\n",
    "CRLF, no end": THEIRS.replace("\n", "\r\n"),
    "BOM": "\ufeff" + THEIRS + "\n",
    "no UTF-8": THEIRS.replace("2", "\udcff") + "\n",
    "mixed": THEIRS.replace("\n", "\r\n", 2) + "\n\n\n",
}
TEXTS = [name for name in NAMES.values() if is_text(name)]


@pytest.mark.parametrize("text", AS_WRITTEN.values(), ids=AS_WRITTEN.keys())
@pytest.mark.parametrize(
    ("put", "take"),
    [(with_excluded, without_excluded), (with_plugins_excluded, without_plugins_excluded)],
    ids=["baloo", "tumbler"],
)
def test_every_other_line_stays_as_it_is(text: str, put: Any, take: Any) -> None:
    """In its place, with its own end; new ones end as those of the file do."""
    done = put(text, ["/p"])

    theirs = iter(done.split("\n"))
    assert all(line in theirs for line in text.removesuffix("\n").split("\n"))
    assert put(done, ["/p"]) == done
    ours = [line for line in done.split("\n") if "/p" in line]
    assert {line.endswith("\r") for line in ours} == {text.split("\n")[0].endswith("\r")}
    assert "/p" not in take(done, ["/p"])


@pytest.mark.parametrize("put", [with_excluded, with_plugins_excluded], ids=["baloo", "tumbler"])
def test_folders_of_any_name_stand_in_a_list(put: Any) -> None:
    """Each is found again, none is another's, and none begins a line or a section of its own."""
    folders = [f"/srv/{name}" for name in TEXTS]

    done = put("", folders)

    assert put(done, folders) == done
    assert put(done, [*reversed(folders)]) == done
    assert {line[:1] for line in done.split("\n")} <= {"", "[", "e", "E"}
    take = without_excluded if put is with_excluded else without_plugins_excluded
    left = take(done, folders[1:])
    assert left == put("", folders[:1])
