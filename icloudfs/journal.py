"""systemd's journal: log records with their priority and fields of their own, instead of lines.

Each record is one datagram, as https://systemd.io/JOURNAL_NATIVE_PROTOCOL has it. What a call of ``logging``
has as ``extra={"event": "sync.done"}`` becomes ``ICLOUDFS_EVENT=sync.done``, with a MESSAGE_ID that all records
of that event share, so that ``journalctl ICLOUDFS_EVENT=sync.done`` finds them.
"""

from __future__ import annotations

import array
import fcntl
import logging
import os
import socket
import struct
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping

SOCKET = "/run/systemd/journal/socket"

_IDENTIFIER = "icloudfs"
_EVENTS = uuid.UUID("6f9c0d6c-51d1-4f0e-9d5b-0d6f7e8f6a53")
"""What the ids of events are made from, with their names."""

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""syslog's numbers, by the least level that has them; whatever is below is 7."""


def is_standard_error(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether what this process prints to standard error goes to the journal."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(sys.stderr.fileno())
        return (int(device), int(inode)) == (found.st_dev, found.st_ino)
    except (ValueError, OSError):
        return False


def handler(address: str = SOCKET) -> logging.Handler:
    """For records that shall go to the journal, where ``is_standard_error``."""
    try:
        return JournalHandler(address)
    except OSError:
        prefixed = logging.StreamHandler(sys.stderr)
        prefixed.setFormatter(Prefixed())
        return prefixed


def priority(level: int) -> int:
    """syslog's number for a level of ``logging``."""
    return next((number for least, number in _PRIORITIES if level >= least), 7)


class Prefixed(logging.Formatter):
    """Lines that begin with ``<priority>``, which the journal reads off standard error (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{priority(record.levelno)}>"
        text = f"{record.name}: {super().format(record)}"
        return "\n".join(mark + line for line in text.split("\n"))


class JournalHandler(logging.Handler):
    """Sends each record to the journal. Raises OSError at first if there is none.

    A journal that is hundreds of records behind is not waited for, as the mount must go on: records are
    dropped, and the first one after that is preceded by how many they were.
    """

    def __init__(self, address: str = SOCKET) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter())
        self._address = address
        self._dropped = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.connect(address)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._dropped:
                self._send(_datagram(self._fields(_gap(self._dropped))))
                self._dropped = 0
            self._send(_datagram(self._fields(record)))
        except BlockingIOError:
            self._dropped += 1
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> Iterator[tuple[str, str]]:
        # The traceback, if there is one, is part of what the formatter makes.
        yield "MESSAGE", self.format(record)
        yield "PRIORITY", str(priority(record.levelno))
        yield "SYSLOG_IDENTIFIER", _IDENTIFIER
        yield "LOGGER", record.name
        yield "CODE_FILE", record.pathname
        yield "CODE_LINE", str(record.lineno)
        yield "CODE_FUNC", record.funcName
        if event := getattr(record, "event", None):
            yield "ICLOUDFS_EVENT", str(event)
            yield "MESSAGE_ID", uuid.uuid5(_EVENTS, str(event)).hex

    def _send(self, datagram: bytes) -> None:
        try:
            self._socket.send(datagram)
        except BlockingIOError:
            raise
        except (ConnectionRefusedError, BrokenPipeError):
            # The journal was started anew; it listens at the old address.
            self._socket.connect(self._address)
            self._socket.send(datagram)
        except OSError:
            self._send_as_file(datagram)

    def _send_as_file(self, datagram: bytes) -> None:
        """What is too long for a datagram goes as a sealed file in memory."""
        with os.fdopen(os.memfd_create("record", os.MFD_ALLOW_SEALING), "wb") as file:
            file.write(datagram)
            file.flush()
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
            rights = array.array("i", [file.fileno()])
            self._socket.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def _gap(dropped: int) -> logging.LogRecord:
    """What stands in the place of records that were dropped."""
    message = "%d records were dropped: the journal did not take them."
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, (dropped,), None, "")


def _datagram(fields: Iterable[tuple[str, str]]) -> bytes:
    return b"".join(_encode(*field) for field in fields)


def _encode(name: str, value: str) -> bytes:
    text = value.encode("utf-8", "replace")
    if b"\n" in text:
        return name.encode() + b"\n" + struct.pack("<Q", len(text)) + text + b"\n"
    return name.encode() + b"=" + text + b"\n"
