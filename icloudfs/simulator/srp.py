"""The server's side of SRP-6a as Apple does it (facts/sign-in.md §1.4).

The group is RFC 5054's 2048-bit one with g = 2, the hash SHA-256, and the user name has no part in x.
Only a verifier is kept, as a real server would.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

WIDTH = 256
"""Bytes of a full-width number in the group."""
G = 2
N = int(
    "AC6BDB41324A9A9BF166DE5E1389582FAF72B6651987EE07FC3192943DB56050"
    "A37329CBB4A099ED8193E0757767A13DD52312AB4B03310DCD7F48A9DA04FD50"
    "E8083969EDB767B0CF6095179A163AB3661A05FBD5FAAAE82918A9962F0B93B8"
    "55F97993EC975EEAA80D740ADBF4FF747359D041D5C33EA71D281E446B14773B"
    "CA97B43A23FB801676BD207A436C6481F1D2B9078717461A5B9D32E688F87748"
    "544523B524B0D57D5EA77A2775D2ECFA032CFBDBF52FB3786160279004E57AE6"
    "AF874E7303CE53299CCC041C7BC308D82A5698F3A8D0C38271AE35F8E9DBFBB6"
    "94B5C803D89F7AE435DE236D525F54759B65E372FCD68EF20FA7111F9E4AFF73",
    16,
)


def derived_key(password: str, salt: bytes, iteration: int, protocol: str) -> bytes:
    """PBKDF2 over the password's SHA-256: raw for ``s2k``, its hexadecimal form for ``s2k_fo``."""
    digest = hashlib.sha256(password.encode()).digest()
    secret = digest.hex().encode("ascii") if protocol == "s2k_fo" else digest
    return hashlib.pbkdf2_hmac("sha256", secret, salt, iteration, 32)


def verifier(key: bytes, salt: bytes) -> int:
    """v = g^x, with x = H(salt | H(":" | key))."""
    return pow(G, _number(_hash(salt, _hash(b":", key))), N)


@dataclass(frozen=True)
class Proofs:
    """What both sides must have come to."""

    m1: bytes
    m2: bytes


class Exchange:
    """One sign-in: B has been sent, M1 is awaited."""

    def __init__(self, user: str, salt: bytes, v: int, b: int | None = None) -> None:
        self._user = user.encode()
        self._salt = salt
        self._v = v
        self._b = b if b is not None else _full_width_secret(v)
        self.public = _public(self._b, v)
        """B, an integer."""

    def proofs(self, a_public: bytes) -> list[Proofs]:
        """The acceptable proofs for a client's A, as it sent it: one for each reading of padding.

        Clients disagree on whether S, A and B are padded to 256 bytes, and on leading zeros of the
        salt; each reading gives a pair. Empty if A is no public value.
        """
        a = _number(a_public)
        if a % N == 0:
            return []
        u = _number(_hash(_pad(a), _pad(self.public)))
        if u == 0:
            return []
        shared = pow(a * pow(self._v, u, N), self._b, N)
        readings = []
        for padded in (False, True):
            write = _pad if padded else _minimal
            session_key = _hash(write(shared))
            a_bytes, b_bytes = write(a), write(self.public)
            m1 = _hash(
                _xor(_hash(_minimal(N)), _hash(_pad(G))),
                _hash(self._user),
                self._salt,
                a_bytes,
                b_bytes,
                session_key,
            )
            readings.append(Proofs(m1, _hash(a_bytes, m1, session_key)))
        return readings

    def accepts(self, a_public: bytes, m1: bytes, m2: bytes) -> bool:
        """Whether the client knows the password."""
        return any(
            hmac.compare_digest(proofs.m1, m1) and hmac.compare_digest(proofs.m2, m2)
            for proofs in self.proofs(a_public)
        )


def _full_width_secret(v: int) -> int:
    while True:
        b = secrets.randbits(256)
        if len(_minimal(_public(b, v))) == WIDTH:
            return b


def _public(b: int, v: int) -> int:
    k = _number(_hash(_minimal(N), _pad(G)))
    return (k * v + pow(G, b, N)) % N


def number_bytes(number: int) -> bytes:
    """A public value as it goes over the wire: 256 bytes."""
    return _pad(number)


def _hash(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def _minimal(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _pad(number: int) -> bytes:
    return number.to_bytes(WIDTH, "big")


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
