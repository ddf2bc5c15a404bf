#!/usr/bin/python3
"""icloudfs-thumbnailer SIZE INPUT OUTPUT: the thumbnail of a file, as file managers ask for one.

`icloudfs desktop install` puts it below /usr, because file managers run thumbnailers in a sandbox that shows
them nothing else; so it stands alone. A photo of an icloudfs mount brings its small picture along, as an
extended attribute, and is not read. All other files are left to the programs that would have been asked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

ATTRIBUTE = "user.icloudfs.thumbnail"
OURS = "user.icloudfs.asset"
VIDEOS = (".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".3gp", ".mts", ".mpg")


def main(size: str, source: str, target: str) -> int:
    """The exit code. What was asked for is in ``target`` if it is 0."""
    picture = attribute(source, ATTRIBUTE)
    if picture:
        with tempfile.NamedTemporaryFile(suffix=".jpg") as small:
            small.write(picture)
            small.flush()
            return run("gdk-pixbuf-thumbnailer", "-s", size, small.name, target)
    if attribute(source, OURS):
        return 1  # without a network, say; reading the original would be worse than an icon
    if source.lower().endswith(VIDEOS):
        return run("ffmpegthumbnailer", "-s", size, "-i", source, "-o", target, "-c", "png", "-f")
    return run("gdk-pixbuf-thumbnailer", "-s", size, source, target)


def attribute(path: str, name: str) -> bytes:
    """Empty if there is none."""
    try:
        return os.getxattr(path, name)
    except OSError:
        return b""


def run(program: str, *arguments: str) -> int:
    try:
        return subprocess.run([program, *arguments], check=False).returncode
    except FileNotFoundError:
        print(f"{program} is not installed", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
