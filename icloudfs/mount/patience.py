"""How long programs are kept waiting for thumbnails, each time and on the whole.

Who looks at one folder after the other is worth waiting for. Who walks through all of them, to copy them or to
add up their sizes, is the same program, and is soon kept no longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

PATIENCE = 5.0
"""Seconds that one request may take. The program cannot end meanwhile."""

FOR_A_FOLDER = 10.0
"""Seconds that the opening of a folder may take: its first 500 thumbnails lie after six, at 80 ms a call.
Nobody else is kept by it; a page of a listing that waited would keep whoever wants anything in there."""

_SAVED = 15.0
"""Seconds of waiting that can be had at once, after a while without any."""

_SHARE = 0.5
"""Of all time may be spent waiting, in the long run."""


class Patience:
    """Seconds that are saved up and spent."""

    def __init__(self) -> None:
        self._saved = _SAVED
        self._counted = 0.0

    @contextmanager
    def spent(self, most: float) -> Iterator[None]:
        """What is in the block takes ``most`` seconds, and no longer than there is patience for: it is
        cancelled then."""
        began = trio.current_time()
        self._saved = min(self._saved + (began - self._counted) * _SHARE, _SAVED)
        self._counted = began
        with trio.move_on_after(max(min(self._saved, most), 0)):
            yield
        self._saved -= trio.current_time() - began
