"""Where log lines go. No password, code, token or cookie is ever among them, at any level."""

from __future__ import annotations

import logging
import os
import sys
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from icloudfs import journal, ours
from icloudfs.errors import ConfigError

log = logging.getLogger(__name__)

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

_LARGEST = 4 << 20
"""Bytes of a log file; beyond them it becomes ``<name>.1`` and a new one begins."""


class _LogFile(RotatingFileHandler):
    """It names photos and the account: its owner alone may read it."""

    def _open(self) -> TextIOWrapper:
        descriptor = ours.open_file(self.baseFilename, os.O_WRONLY | os.O_APPEND)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), self.encoding, self.errors)


def configure(level: str, file: Path | None) -> None:
    """Log to ``file`` if there is one, else to standard error, which may be the journal. Raises ConfigError."""
    handler = _on_standard_error() if file is None else _to_file(file)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Their debug lines carry headers, and those carry cookies.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _on_standard_error() -> logging.Handler:
    if journal.is_standard_error():
        return journal.handler()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    return handler


def _to_file(file: Path) -> logging.Handler:
    try:
        handler = _LogFile(
            file, maxBytes=_LARGEST, backupCount=1, encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        raise ConfigError(f"The log file {file} cannot be written: {error.strerror}.") from error
    handler.setFormatter(logging.Formatter(_FORMAT))
    return handler


def mark_of_error() -> str:
    """What a line on standard error begins with to be an error in the journal, if it goes there."""
    return f"<{journal.priority(logging.ERROR)}>" if journal.is_standard_error() else ""


def unforeseen(error: BaseException) -> None:
    """Note a bug with all that is known of it: in a file or the journal always, elsewhere if asked for."""
    kept = (logging.FileHandler, journal.JournalHandler)
    is_kept = any(isinstance(handler, kept) for handler in logging.getLogger().handlers)
    log.log(logging.ERROR if is_kept else logging.DEBUG, "unforeseen", exc_info=error)
