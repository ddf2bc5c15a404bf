"""Records as the journal gets them, and what is done where there is none."""

from __future__ import annotations

import array
import contextlib
import io
import logging
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from icloudfs import journal
from icloudfs.journal import JournalHandler, Prefixed


class Journal:
    """Its end of the socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open()

    def open(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(5)

    def close(self) -> None:
        self._socket.close()
        self.path.unlink()

    def next(self) -> dict[str, str]:
        """The fields of the record that comes next."""
        size = array.array("i").itemsize
        data, ancillary, _, _ = self._socket.recvmsg(1 << 20, socket.CMSG_LEN(size))
        for _level, _kind, rights in ancillary:
            (descriptor,) = array.array("i", rights)
            with os.fdopen(descriptor, "rb") as file:
                file.seek(0)
                data = file.read()
        return dict(_decoded(io.BytesIO(data)))

    def all_that_wait(self) -> list[str]:
        """The messages of the records that have come."""
        messages = []
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                messages.append(self.next()["MESSAGE"])
        self._socket.settimeout(5)
        return messages


def _decoded(data: io.BytesIO) -> Iterator[tuple[str, str]]:
    while line := data.readline():
        name, equals, value = line.rstrip(b"\n").partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", data.read(8))
            value = data.read(length)
            assert data.read(1) == b"\n"
        yield name.decode(), value.decode()


@pytest.fixture
def received(tmp_path: Path) -> Iterator[Journal]:
    received = Journal(tmp_path / "socket")
    yield received
    received.close()


@pytest.fixture
def log(received: Journal) -> Iterator[logging.Logger]:
    log = logging.Logger("icloudfs.somewhere")
    handler = JournalHandler(str(received.path))
    log.addHandler(handler)
    yield log
    handler.close()


def test_a_record_has_its_fields(log: logging.Logger, received: Journal) -> None:
    log.warning("it went %s", "wrong")

    fields = received.next()
    assert fields.pop("CODE_FILE") == __file__
    assert int(fields.pop("CODE_LINE")) > 0
    assert fields == {
        "MESSAGE": "it went wrong",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "icloudfs",
        "LOGGER": "icloudfs.somewhere",
        "CODE_FUNC": "test_a_record_has_its_fields",
    }


def test_an_event_has_a_name_and_an_id_of_its_own(log: logging.Logger, received: Journal) -> None:
    ids = []
    for event in ("sync.done", "sync.done", "mounted"):
        log.info("done", extra={"event": event})
        fields = received.next()
        assert fields["ICLOUDFS_EVENT"] == event
        ids.append(fields["MESSAGE_ID"])
    assert ids[0] == ids[1] != ids[2]
    assert all(len(id) == 32 for id in ids)


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.ERROR, 3), (logging.CRITICAL, 2)],
)
def test_each_level_has_its_priority(
    log: logging.Logger, received: Journal, level: int, priority: int
) -> None:
    log.log(level, "so it is")
    assert received.next()["PRIORITY"] == str(priority)


def test_a_traceback_keeps_its_lines(log: logging.Logger, received: Journal) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("unforeseen")
    first, *_, last = received.next()["MESSAGE"].splitlines()
    assert (first, last) == ("unforeseen", "ValueError: no")


def test_what_is_too_long_for_a_datagram(log: logging.Logger, received: Journal) -> None:
    log.error("x" * 2_000_000)
    fields = received.next()
    assert len(fields["MESSAGE"]) == 2_000_000
    assert fields["PRIORITY"] == "3"


def test_a_journal_that_is_started_anew(log: logging.Logger, received: Journal) -> None:
    received.close()
    received.open()
    log.info("again")
    assert received.next()["MESSAGE"] == "again"


def test_a_journal_that_is_behind_is_not_waited_for(log: logging.Logger, received: Journal) -> None:
    for number in range(3000):
        log.info("record %d", number)
    kept = received.all_that_wait()
    assert kept and kept == [f"record {number}" for number in range(len(kept))]
    dropped = 3000 - len(kept)
    assert dropped > 0

    log.info("again")
    gap = received.next()
    assert gap["MESSAGE"] == f"{dropped} records were dropped: the journal did not take them."
    assert gap["PRIORITY"] == "4"
    assert received.next()["MESSAGE"] == "again"
    log.info("and again")
    assert received.all_that_wait() == ["and again"]


# -- whether it is there -----------------------------------------------------------------------------


def test_lines_with_their_priority() -> None:
    record = logging.LogRecord("icloudfs.x", logging.ERROR, __file__, 1, "one\ntwo", (), None)
    assert Prefixed().format(record) == "<3>icloudfs.x: one\n<3>two"


def test_without_a_journal_lines_go_to_standard_error(tmp_path: Path) -> None:
    handler = journal.handler(str(tmp_path / "nothing"))
    assert isinstance(handler, logging.StreamHandler)
    assert isinstance(handler.formatter, Prefixed)


_PROGRAM = """
import logging
from icloudfs import journal, logs
journal.handler.__defaults__ = ({address!r},)
logs.configure("info", None)
logging.info("hello")
"""


def _run(address: Path, journal_stream: str | None) -> str:
    """What a program prints to standard error, which the journal listens to or not."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = os.fstat(theirs.fileno())
        stream = journal_stream or f"{found.st_dev}:{found.st_ino}"
        subprocess.run(
            [sys.executable, "-c", _PROGRAM.format(address=str(address))],
            stderr=theirs.fileno(),
            env=os.environ | {"JOURNAL_STREAM": stream},
            check=True,
        )
        theirs.close()
        with contextlib.closing(ours.makefile()) as printed:
            return printed.read()


def test_logging_finds_the_journal(received: Journal, tmp_path: Path) -> None:
    assert _run(received.path, None) == ""
    assert received.next()["MESSAGE"] == "hello"


def test_logging_to_a_journal_without_a_socket(tmp_path: Path) -> None:
    assert _run(tmp_path / "nothing", None) == "<6>root: hello\n"


@pytest.mark.parametrize("stream", ["1:2", "nonsense", ":"])
def test_standard_error_that_is_not_the_journal(received: Journal, stream: str) -> None:
    assert _run(received.path, stream).endswith(" INFO    root: hello\n")
