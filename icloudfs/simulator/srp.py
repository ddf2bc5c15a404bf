"""The server's side of SRP-6a as Apple does it (facts/sign-in.md §1.4 and §6.4).

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


@dataclass(frozen=True, repr=False)
class Proofs:
    """What both sides must have come to."""

    m1: bytes
    m2: bytes
    key: bytes
    """K, the session key."""


class Exchange:
    """One sign-in: B has been sent, M1 is awaited."""

    def __init__(self, user: str, salt: bytes, v: int, b: int | None = None) -> None:
        self._user = user.encode()
        self._salt = salt
        self._v = v
        self._b = b if b is not None else secrets.randbits(256)
        self.public = _public(self._b, v)
        """B, an integer."""

    def proofs(self, a_public: bytes, *, unpadded_a: bool = False) -> Proofs | None:
        """The proofs that belong to a client's A; None if A is no public value.

        Every number is hashed with its full width, zeros included, as Apple's web client does;
        ``unpadded_a`` is the reading of clients that hash A without them.
        """
        if is_invalid(a_public):
            return None
        a = _number(a_public)
        shared = self.shared(a)
        session_key = _hash(_pad(shared))
        hashed_a = _minimal(a % N) if unpadded_a else _pad(a % N)
        m1 = _hash(
            _xor(_hash(_minimal(N)), _hash(_pad(G))),
            _hash(self._user),
            self._salt,
            hashed_a,
            _pad(self.public),
            session_key,
        )
        return Proofs(m1, _hash(hashed_a, m1, session_key), session_key)

    def shared(self, a: int) -> int:
        """S, which both sides come to."""
        u = _number(_hash(_pad(a % N), _pad(self.public)))
        return pow(a * pow(self._v, u, N), self._b, N)

    def accepts(self, a_public: bytes, m1: bytes, m2: bytes, *, unpadded_a: bool = False) -> bool:
        """Whether the client knows the password."""
        proofs = self.proofs(a_public, unpadded_a=unpadded_a)
        return (
            proofs is not None
            and hmac.compare_digest(proofs.m1, m1)
            and hmac.compare_digest(proofs.m2, m2)
        )


def is_invalid(a_public: bytes) -> bool:
    """Whether a client's A is none that an exchange could be made with."""
    return _number(a_public) % N == 0


def draw(
    user: str, salt: bytes, v: int, a_public: bytes, *, short_b: bool = False, short_s: bool = False
) -> Exchange:
    """An exchange in which B and S begin with 00 exactly where that is asked for.

    Otherwise they do in one sign-in of 128, and clients that do not pad (§6.4) would fail here now
    and then. Takes about a second for each number that shall be short.
    """
    a = _number(a_public)
    while True:
        exchange = Exchange(user, salt, v)
        if _is_short(exchange.public) == short_b and _is_short(exchange.shared(a)) == short_s:
            return exchange


def _is_short(number: int) -> bool:
    return len(_minimal(number)) < WIDTH


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
