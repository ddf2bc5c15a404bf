"""Names that a folder or a file may have and that text is easily spoilt by, as the kernel keeps them: bytes."""

from __future__ import annotations

import os

ODD: dict[str, bytes] = {
    "blank": b"a b",
    "blanks around": b" a ",
    "dash": b"-dash",
    "two dashes": b"--help",
    "dot": b".hidden",
    "tilde": b"~user",
    "tab": b"a\tb",
    "line feed": b"a\nb",
    "carriage return": b"a\rb",
    "carriage return at the end": b"a\r",
    "vertical tab": b"a\x0bb",
    "form feed": b"a\x0cb",
    "file separator": b"a\x1cb",
    "escape": b"a\x1b[31mb",
    "delete": b"a\x7fb",
    "backslash": b"a\\b",
    "backslash at the end": b"a\\",
    "octal escape": b"a\\040b",
    "octal escape of more than a byte": b"a\\777b",
    "separator of mountinfo": b"a - b",
    "percent": b"a%20b%h",
    "hash": b"a#b",
    "question": b"a?b",
    "colon and comma": b"a:b,c=d;e",
    "quotes": b"a'b\"c`d",
    "dollar": b"$HOME${x}",
    "brackets": b"[a]{b}*",
    "NEL": "a\u0085b".encode(),
    "no-break space": "a\u00a0b".encode(),
    "line separator": "a\u2028b".encode(),
    "paragraph separator": "a\u2029b".encode(),
    "ideographic space": "a\u3000b".encode(),
    "byte order mark": "\ufeffa".encode(),
    "decomposed": "a\u0308".encode(),
    "right to left": "a\u202eb".encode(),
    "beyond the BMP": "a\U0001f4f7b".encode(),
    "Latin-1": b"M\xfcnchen",
    "no UTF-8 at all": b"\xff\xfe",
    "a surrogate": b"a\xed\xa0\x80b",
    "cut off": b"a\xe3\x80",
    "long": b"\xe3\x80\x80" * 85,
}

_EVERYTHING = (
    b" \\040 - \t\n\x0c\x1b'\"$%:,;" + "\u0085\u00a0\u2028\u3000\U0001f4f7".encode() + b" "
)
TOGETHER = {
    "all that is text": os.fsdecode(_EVERYTHING),
    "all of it": os.fsdecode(_EVERYTHING + b"\xff\xe3"),
}
"""All of that in one name, for what takes its time."""

NAMES = {told: os.fsdecode(name) for told, name in ODD.items()}
"""The same as paths of Python have them."""
