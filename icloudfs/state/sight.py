"""Whether a photo is in sight, in SQL; ``tree/layout`` has the same in Python, for one photo at a time.

``tests/tree/test_sight.py`` shows both equal, and equal to what folders show. Nothing else may spell it out.
"""

from __future__ import annotations


def is_visible(asset: str) -> str:
    """Of the row called ``asset``: neither hidden nor deleted. As ``layout.is_visible``."""
    return f"NOT ({asset}.hidden OR {asset}.deleted OR {asset}.expunged)"


def is_in_sight(asset: str) -> str:
    """Visible, and no frame that its burst keeps to itself: what Apple's list of all photos holds, and
    what months and albums show of what has a file. As ``layout.is_in_sight``."""
    return (
        f"({is_visible(asset)} AND NOT ({asset}.burst <> ''"
        f" AND {asset}.burst_flags & {BURST_NOT_SELECTED} AND NOT {asset}.burst_flags & {BURST_CHOSEN}))"
    )


# burstFlags. The facts name the field only; these bits are those that other programs read from Apple's
# own photo database: 2 not selected, 8 selected by the person, 16 the key photo. What is in doubt is shown.
BURST_NOT_SELECTED, BURST_CHOSEN = 2, 8 | 16
