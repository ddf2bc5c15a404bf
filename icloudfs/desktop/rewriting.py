"""Other programs' configuration files: what is added to them, and how it is taken out again.

Each function takes a file's text and gives the new one; nothing else in it is touched, and what is there
already is not added twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PRUNED = re.compile(r'^(\s*PRUNEFS\s*=\s*")([^"]*)(")', re.MULTILINE)
_FILESYSTEM = "fuse.icloudfs"

_BALOO_SECTION = "General"
_BALOO_KEY = "exclude folders[$e]"

_TUMBLER_PLUGINS = (
    "JPEGThumbnailer",
    "PixbufThumbnailer",
    "RawThumbnailer",
    "FfmpegThumbnailer",
    "GstThumbnailer",
)
"""Those that read photos and videos."""
_TUMBLER_KEY = "Excludes"


def without_filesystem(text: str) -> str:
    """``updatedb.conf`` as it was before ``with_filesystem``."""
    return _PRUNED.sub(
        lambda m: m[1] + " ".join(word for word in m[2].split(" ") if word != _FILESYSTEM) + m[3],
        text,
    )


def with_filesystem(text: str) -> str:
    """``updatedb.conf``, so that ``locate`` leaves mounts of ours out."""
    if _FILESYSTEM in text:
        return text
    return _PRUNED.sub(lambda m: f"{m[1]}{m[2]} {_FILESYSTEM}{m[3]}", text, count=1)


def with_excluded(text: str, folders: Sequence[str]) -> str:
    """``baloofilerc``, so that the folders are not indexed: that would read a part of every photo."""
    listed = _excluded(text)
    wanted = [*listed, *(word for f in folders if (word := _word(f)) not in listed)]
    return text if wanted == listed else _set(text, _BALOO_SECTION, _BALOO_KEY, ",".join(wanted))


def without_excluded(text: str, folders: Sequence[str]) -> str:
    """``baloofilerc`` as it was before ``with_excluded``."""
    listed = _excluded(text)
    left = [word for word in listed if word not in map(_word, folders)]
    return text if left == listed else _set(text, _BALOO_SECTION, _BALOO_KEY, ",".join(left))


def with_plugins_excluded(text: str, folders: Sequence[str]) -> str:
    """``tumbler.rc``, so that tumbler's own plug-ins leave what is in the folders to ``.thumbnailer`` programs.

    Everywhere else all goes on as before. A section that is not there yet says no more than this: the rest of
    it is what tumbler takes for a plug-in without one.
    """
    for section in _TUMBLER_PLUGINS:
        listed = _excludes(text, section)
        wanted = [*listed, *(word for f in folders if (word := _in_key_file(f)) not in listed)]
        if wanted != listed:
            text = _set(text, section, _TUMBLER_KEY, ";".join(wanted))
    return text


def without_plugins_excluded(text: str, folders: Sequence[str]) -> str:
    """``tumbler.rc`` as it was before ``with_plugins_excluded``, but for sections that were not there."""
    for section in _TUMBLER_PLUGINS:
        listed = _excludes(text, section)
        left = [word for word in listed if word not in map(_in_key_file, folders)]
        if left != listed:
            text = _set(text, section, _TUMBLER_KEY, ";".join(left))
    return text


def _word(folder: str) -> str:
    """As KDE writes a path in a list."""
    return folder.replace("\\", "\\\\").replace(",", "\\,").replace("$", "$$") + "/"


def _excluded(text: str) -> list[str]:
    value = _get(text, _BALOO_SECTION, _BALOO_KEY)
    return [word for word in re.split(r"(?<!\\),", value) if word]


def _in_key_file(folder: str) -> str:
    """As GLib writes a path in a list."""
    return folder.replace("\\", "\\\\").replace(";", "\\;")


def _excludes(text: str, section: str) -> list[str]:
    value = _get(text, section, _TUMBLER_KEY)
    return [word for word in re.split(r"(?<!\\);", value.strip()) if word]


def _get(text: str, section: str, key: str) -> str:
    lines = text.splitlines()
    at = _line_of(lines, section, key)
    return "" if at is None else lines[at].partition("=")[2]


def _set(text: str, section: str, key: str, value: str) -> str:
    lines = text.splitlines()
    at = _line_of(lines, section, key)
    if at is not None:
        lines[at] = f"{key}={value}"
    elif f"[{section}]" in lines:
        lines.insert(lines.index(f"[{section}]") + 1, f"{key}={value}")
    else:
        lines += [*([""] if lines else []), f"[{section}]", f"{key}={value}"]
    return "\n".join(lines) + "\n"


def _line_of(lines: list[str], section: str, key: str) -> int | None:
    current = ""
    for number, line in enumerate(lines):
        if line.startswith("["):
            current = line.strip()
        elif current == f"[{section}]" and line.partition("=")[0].strip() == key:
            return number
    return None
