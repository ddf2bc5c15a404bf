"""Where log lines go. No password, code, token or cookie is ever among them, at any level."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from icloudfs.errors import ConfigError

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure(level: str, file: Path | None) -> None:
    """Log to ``file`` if there is one, else to standard error. Raises ConfigError."""
    handler: logging.Handler
    try:
        handler = (
            logging.FileHandler(file) if file is not None else logging.StreamHandler(sys.stderr)
        )
    except OSError as error:
        raise ConfigError(f"The log file {file} cannot be written: {error.strerror}.") from error
    handler.setFormatter(logging.Formatter(_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Their debug lines carry headers, and those carry cookies.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
