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
    return _in_a_line(folder).replace(",", "\\,").replace("$", "$$") + "/"


def _excluded(text: str) -> list[str]:
    return _words(_get(text, _BALOO_SECTION, _BALOO_KEY), ",")


def _in_key_file(folder: str) -> str:
    """As GLib writes a path in a list."""
    return _in_a_line(folder).replace(";", "\\;")


def _excludes(text: str, section: str) -> list[str]:
    return _words(_get(text, section, _TUMBLER_KEY), ";")


_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def _in_a_line(folder: str) -> str:
    """As both write what would end a value or begin something else in it."""
    return re.sub(" +$", lambda blanks: r"\s" * len(blanks[0]), folder.translate(_ESCAPES))


def _words(value: str, separator: str) -> list[str]:
    """Of a list in which a backslash takes away what the next character means."""
    return re.findall(rf"(?:[^\\{separator}]|\\.)+", value.strip(_BLANKS))


# -- one line of a file, and nothing else of it ------------------------------------------------------

_BLANKS = " \t\r"
"""What may stand around words; other blanks may be in them."""


def _get(text: str, section: str, key: str) -> str:
    lines = text.split("\n")
    at = _line_of(lines, section, key)
    return "" if at is None else lines[at].partition("=")[2]


def _set(text: str, section: str, key: str, value: str) -> str:
    """Lines end as they do, the new one as the first one does."""
    lines = text.split("\n")
    end = "\r" if lines[0].endswith("\r") else ""
    at = _line_of(lines, section, key)
    if at is not None:
        lines[at] = f"{key}={value}" + ("\r" if lines[at].endswith("\r") else "")
    elif (head := _head_of(lines, section)) is not None:
        lines.insert(head + 1, f"{key}={value}{end}")
    else:
        if lines[-1]:
            lines.append("")  # the last line has no end
        gap = [end] if text else []
        lines[-1:] = [*gap, f"[{section}]{end}", f"{key}={value}{end}", ""]
    return "\n".join(lines)


def _head_of(lines: list[str], section: str) -> int | None:
    return next((at for at, line in enumerate(lines) if _bare(line) == f"[{section}]"), None)


def _line_of(lines: list[str], section: str, key: str) -> int | None:
    current = ""
    for number, line in enumerate(lines):
        if _bare(line).startswith("["):
            current = _bare(line)
        elif current == f"[{section}]" and line.partition("=")[0].strip(_BLANKS) == key:
            return number
    return None


def _bare(line: str) -> str:
    return line.removeprefix("\ufeff").strip(_BLANKS)
