from __future__ import annotations

import base64
import hashlib

import pytest

from icloudfs.apple import checksum


def test_it_is_a_salted_sha1_behind_a_type() -> None:
    salt = b"com.apple.XattrObjectSalt\0com.apple.DataObjectSalt\0"
    expected = base64.b64encode(b"\x01" + hashlib.sha1(salt + b"content").digest()).decode()
    assert checksum.of(b"content") == expected
    assert len(expected) == 28


def test_in_pieces() -> None:
    digest = checksum.new_digest()
    for piece in (b"con", b"", b"tent"):
        digest.update(piece)
    assert checksum.from_digest(digest.digest()) == checksum.of(b"content")
    assert checksum.matches(checksum.of(b"content"), digest.digest())
    assert not checksum.matches(checksum.of(b"Content"), digest.digest())


@pytest.mark.parametrize(
    ("kind", "checkable"),
    [
        (0x01, True),
        (0x02, True),
        (0x0B, True),
        (0x81, True),
        (0x8B, True),
        (0x04, False),
        (0, False),
    ],
)
def test_an_unknown_type_cannot_be_checked(kind: int, checkable: bool) -> None:
    assert checksum.is_checkable(checksum.from_digest(bytes(20), kind)) is checkable


def test_other_spellings_of_base64() -> None:
    content = next(bytes([i]) for i in range(256) if "+" in checksum.of(bytes([i])))
    usual = checksum.of(content)
    digest = checksum.new_digest()
    digest.update(content)
    for spelling in (usual.rstrip("="), usual.replace("+", "-").replace("/", "_")):
        assert checksum.is_checkable(spelling)
        assert checksum.matches(spelling, digest.digest())


@pytest.mark.parametrize("junk", ["", "AQ==", "not base64!", "ü", checksum.of(b"") + "AAAA"])
def test_junk_cannot_be_checked_and_does_not_crash(junk: str) -> None:
    assert not checksum.is_checkable(junk)
