"""Where log lines go. No password, code, token or cookie is ever among them, at any level."""

from __future__ import annotations

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from icloudfs.errors import ConfigError

log = logging.getLogger(__name__)

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

_LARGEST = 4 << 20
"""Bytes of a log file; beyond them it becomes ``<name>.1`` and a new one begins."""


def configure(level: str, file: Path | None) -> None:
    """Log to ``file`` if there is one, else to standard error. Raises ConfigError."""
    handler: logging.Handler
    try:
        handler = (
            RotatingFileHandler(file, maxBytes=_LARGEST, backupCount=1)
            if file is not None
            else logging.StreamHandler(sys.stderr)
        )
    except OSError as error:
        raise ConfigError(f"The log file {file} cannot be written: {error.strerror}.") from error
    handler.setFormatter(logging.Formatter(_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Their debug lines carry headers, and those carry cookies.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


def unforeseen(error: BaseException) -> None:
    """Note a bug with all that is known of it: in a file always, on a terminal only if asked for."""
    to_file = any(isinstance(h, logging.FileHandler) for h in logging.getLogger().handlers)
    log.log(logging.ERROR if to_file else logging.DEBUG, "unforeseen", exc_info=error)
