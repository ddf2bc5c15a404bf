#!/usr/bin/python3
"""icloudfs-thumbnailer SIZE INPUT OUTPUT: the thumbnail of a file, as file managers ask for one.

`icloudfs desktop install` puts it below /usr, because file managers run thumbnailers in a sandbox that shows
them nothing else; so it stands alone. A photo of an icloudfs mount brings its small picture along, as an
extended attribute, and is not read. All other files are left to the programs that would have been asked: those
of the system's own entries, in whose place ours has come.
"""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ATTRIBUTE = "user.icloudfs.thumbnail"
OURS = "user.icloudfs.asset"
NAME = "icloudfs-thumbnailer"

_PICTURES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".heic": "image/heif image/heic",
    ".heif": "image/heif image/heic",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".dng": "image/x-adobe-dng",
}
_VIDEOS = {".mov": "video/quicktime", ".mp4": "video/mp4", ".m4v": "video/mp4"}
TYPES = _PICTURES | _VIDEOS
"""What we are asked for, by the end of the name."""


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
    return left_to_another(size, source, target)


def left_to_another(size: str, source: str, target: str) -> int:
    """What the system's own entry for a file of this kind says is run; without one, what is known to do it."""
    suffix = Path(source).suffix.lower()
    types = TYPES.get(suffix, "").split()
    for entry in entries():
        if set(types) & set(entry.get("MimeType", "").split(";")):
            filled = {"%s": size, "%i": source, "%o": target, "%%": "%"}
            filled["%u"] = Path(source).absolute().as_uri()
            return run(*(filled.get(word, word) for word in shlex.split(entry["Exec"])))
    if suffix in _VIDEOS:
        return run("ffmpegthumbnailer", "-s", size, "-i", source, "-o", target, "-c", "png", "-f")
    return run("gdk-pixbuf-thumbnailer", "-s", size, source, target)


def entries() -> Iterator[configparser.SectionProxy]:
    """The system's thumbnailers whose programs are there, the nearest first; none is ours."""
    places = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    for place in places.split(":"):
        for path in sorted(Path(place, "thumbnailers").glob("*.thumbnailer")):
            entry = read(path)
            if entry is not None and is_there(entry):
                yield entry


def read(path: Path) -> configparser.SectionProxy | None:
    """None if it is no entry."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(path, "utf-8")
        return parser["Thumbnailer Entry"]
    except (configparser.Error, KeyError, UnicodeDecodeError):
        return None


def is_there(entry: configparser.SectionProxy) -> bool:
    try:
        words = shlex.split(entry.get("Exec", ""))
    except ValueError:  # a quote without its other half
        return False
    if not words or Path(words[0]).name == NAME:
        return False
    return all(shutil.which(program) for program in (words[0], entry.get("TryExec", words[0])))


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
