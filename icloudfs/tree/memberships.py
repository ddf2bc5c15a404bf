"""Which photo a relation means.

A relation names an asset, not its library: an own album may hold photos of the shared library, and a photo
that is moved between libraries keeps its name and its albums (facts/cloudkit.md §1.12). Where it was, it may
stay as deleted. So of the photos of one name, one is in the album: one that is in sight before one that is
not, that of the album's own library before others. In which order they came makes no difference.
"""

from __future__ import annotations

from icloudfs.state.catalogue import NAMED
from icloudfs.state.sight import is_in_sight


def is_of(asset: str) -> str:
    """SQL: whether the relation ``r`` means the photo of the row called ``asset``, whose name it names."""
    return (
        f"NOT EXISTS (SELECT 1 FROM {NAMED.format(f'{asset}.name')} WHERE a.zone <> {asset}.zone"
        f" AND {_rank('a')} < {_rank(asset)})"
    )


def _rank(asset: str) -> str:
    """The smallest of all that have the name is in the album."""
    return f"(NOT {is_in_sight(asset)}, {asset}.zone <> r.zone, {asset}.zone)"
