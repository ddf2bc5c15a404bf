from __future__ import annotations

from icloudfs.desktop.rewriting import (
    with_excluded,
    with_filesystem,
    with_section,
    without_excluded,
    without_filesystem,
)

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


def test_a_section() -> None:
    text = "[Other]\nPriority=1\n\n[Mine]\nLocations=\nPriority=1\n"
    assert with_section(text, "Mine", {"Priority": "9", "New": "x"}) == (
        "[Other]\nPriority=1\n\n[Mine]\nNew=x\nLocations=\nPriority=9\n"
    )
    assert with_section("a=b\n", "Mine", {"Priority": "9"}) == "a=b\n\n[Mine]\nPriority=9\n"
