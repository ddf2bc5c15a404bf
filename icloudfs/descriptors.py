"""How many files this process may have open, and the lack of them, which is not what a failed open tells."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress

_LACK = frozenset({errno.EMFILE, errno.ENFILE})


def raise_limit() -> None:
    """Have as many as the administrator allows. Each photo that a program has open is a file in the cache, and
    the usual 1024 are for programs that use select(2)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a sandbox may not let us
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def is_lack(error: OSError) -> bool:
    """Whether ``error`` says no more than that."""
    return error.errno in _LACK


def are_lacking() -> bool:
    """Whether there is none left just now: for errors that do not tell."""
    try:
        os.close(os.open("/", os.O_PATH | os.O_CLOEXEC))
    except OSError as error:
        return is_lack(error)
    return False
