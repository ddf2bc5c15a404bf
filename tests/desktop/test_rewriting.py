from __future__ import annotations

from icloudfs.desktop.rewriting import (
    with_excluded,
    with_filesystem,
    with_plugins_excluded,
    without_excluded,
    without_filesystem,
    without_plugins_excluded,
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
