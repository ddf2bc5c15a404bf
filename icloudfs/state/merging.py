"""What a record says of something that is known already.

A record that comes with fewer fields than were asked for never empties what is known (facts/cloudkit.md
§1.12). CloudKit leaves out what has no value, so a field that is absent may mean three things:

* *It is not so*: ``isFavorite``, ``isHidden``, ``isDeleted`` and ``isExpunged``, of a record that is whole. A
  photo that is restored comes without ``isDeleted``.
* *The record is a part of the whole*, if it leaves out what no whole record loses: a photo's master or its
  dates, a file's name or type, an album's title, kind or folder. Then nothing that it does not tell is
  touched, and the record is looked up until it comes whole.
* *In doubt*, all else: a title that was taken away, an edit that was undone, an original that is lost, or a
  part of the whole that has the essential in it. It stays as it was until a look-up of that very record says
  the same.

A value that is null came: it says that there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from icloudfs.apple.records import Came

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder(order="sorted").encode


class Form(msgspec.Struct, frozen=True):
    """How a kind of record is stored, and what becomes of what did not come."""

    columns: tuple[str, ...]
    essential: frozenset[str]
    """Attributes that no whole record loses."""
    resources: frozenset[str] = frozenset()
    """Wire prefixes of what is always asked for."""
    first: frozenset[str] = frozenset()
    """Those that hardly any record is without: what is neither told nor known is asked for, once."""
    flags: frozenset[str] = frozenset()
    """Attributes that are left out when they are not so."""
    of_column: dict[str, str] = {}
    """The attribute of a column, where it is called differently."""

    def attribute(self, column: str) -> str:
        return self.of_column.get(column, column)


MASTER = Form(
    ("filename", "uti", "resources", "width", "height", "modified"),
    essential=frozenset({"filename", "uti"}),
    resources=frozenset({"resOriginal", "resOriginalAlt", "resOriginalVidCompl"}),
    first=frozenset({"filename"}),
)
ASSET = Form(
    (
        *("master", "taken", "added", "zone_offset", "time_zone"),
        *("favorite", "hidden", "deleted", "expunged"),
        *("subtype", "subtype_v2", "burst", "burst_flags", "adjustment", "render_type"),
        *("width", "height", "duration", "caption", "description", "keywords"),
        *("latitude", "longitude", "altitude", "resources", "created", "modified"),
    ),
    essential=frozenset({"master", "taken", "added"}),
    resources=frozenset({"resJPEGFull", "resVidFull", "resVidCompl"}),
    first=frozenset({"master", "added"}),
    flags=frozenset({"favorite", "hidden", "deleted", "expunged"}),
    of_column={
        "zone_offset": "time_zone_offset",
        "latitude": "location",
        "longitude": "location",
        "altitude": "location",
    },
)
ALBUM = Form(
    ("title", "kind", "parent", "deleted", "position", "created", "modified"),
    essential=frozenset({"title", "kind", "parent"}),
    flags=frozenset({"deleted"}),
)

_STAMPS = frozenset({"created", "modified"})
"""Beside the fields, not among them; 0 if they did not come."""


def merged(
    form: Form, row: Sequence[Any], old: Sequence[Any] | None, came: Came, *, asked_for: bool
) -> tuple[list[Any], bool]:
    """The row to store for a record whose columns are ``row``, over the ``old`` one if there is any, and
    whether the record has to be looked up. ``asked_for``: it is the answer to such a look-up."""
    new = list(row)
    if came is None:
        return new, False
    lacks = not asked_for and any(
        old is None or not old[form.columns.index(attribute)] for attribute in form.first - came
    )
    if old is None:
        return new, lacks
    if new == list(old):
        return new, lacks
    lost: dict[str, int] = {}
    flags: list[int] = []
    for at, column in enumerate(form.columns):
        if new[at] == old[at]:
            continue
        if column in _STAMPS:
            new[at] = new[at] or old[at]
        elif column != "resources" and (attribute := form.attribute(column)) not in came:
            if attribute in form.flags:
                flags.append(at)
            else:
                lost[column] = at
    partial = not form.essential.isdisjoint(map(form.attribute, lost))
    resources = _lost_resources(form, new, old, came, all_of_them=partial)
    if not partial and (asked_for or not (lost or resources)):
        return new, lacks
    for at in (*lost.values(), *(flags if partial or lacks else ())):
        new[at] = old[at]
    if resources:
        at = form.columns.index("resources")
        new[at] = _encode({**_decode(new[at]), **resources}).decode()
    return new, True


def _lost_resources(
    form: Form,
    new: Sequence[Any],
    old: Sequence[Any],
    came: frozenset[str],
    *,
    all_of_them: bool,
) -> dict[str, Any]:
    """Resources that are known and did not come, by wire prefix; ``all_of_them``: not only those that are
    always asked for."""
    if not form.resources:
        return {}
    at = form.columns.index("resources")
    if new[at] == old[at]:
        return {}
    kept, there = _decode(old[at]), _decode(new[at])
    wanted = kept if all_of_them else form.resources.intersection(kept)
    return {p: kept[p] for p in wanted if p not in there and p not in came}
