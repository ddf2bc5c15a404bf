"""Bytes and seconds as people write and read them."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes for ``10G``, ``512 MiB``, ``1.5t`` or a plain number. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is no size; write for example 500M or 10G")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))


def size(count: float) -> str:
    """Bytes the way ``ls -h`` and ``df -h`` print them."""
    for unit in ("B", "K", "M", "G", "T"):
        if count < 1024 or unit == "T":
            break
        count /= 1024
    return f"{count:.0f}{unit}" if unit == "B" or count >= 10 else f"{count:.1f}{unit}"


def duration(seconds: float) -> str:
    """Roughly, in the largest unit that fits."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds / length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{max(seconds, 0):.0f} s"
