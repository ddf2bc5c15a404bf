"""SRP-6a in Apple's dialect: a password is proven without being sent.

Pure arithmetic; no network. Source and traps: facts/sign-in.md §1.4 and §6.4. N and g are the 2048-bit
group of RFC 5054, the hash is SHA-256, PAD is left-zero to 256 bytes, and the user name is not part of x.

Apple's web client hashes A and S with their leading zeros, and B as it came; a client that leaves the
zeros out fails in about 1.5 % of its sign-ins.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Literal

from icloudfs.errors import ProtocolError

_PRIME_HEX = (
    "AC6BDB41324A9A9BF166DE5E1389582FAF72B6651987EE07FC3192943DB56050A37329CBB4A099ED8193E0757767A13D"
    "D52312AB4B03310DCD7F48A9DA04FD50E8083969EDB767B0CF6095179A163AB3661A05FBD5FAAAE82918A9962F0B93B8"
    "55F97993EC975EEAA80D740ADBF4FF747359D041D5C33EA71D281E446B14773BCA97B43A23FB801676BD207A436C6481"
    "F1D2B9078717461A5B9D32E688F87748544523B524B0D57D5EA77A2775D2ECFA032CFBDBF52FB3786160279004E57AE6"
    "AF874E7303CE53299CCC041C7BC308D82A5698F3A8D0C38271AE35F8E9DBFBB694B5C803D89F7AE435DE236D525F5475"
    "9B65E372FCD68EF20FA7111F9E4AFF73"
)
PRIME = int(_PRIME_HEX, 16)
GENERATOR = 2
WIDTH = 256
"""Bytes of the group's numbers."""
MOST_ITERATIONS = 1_000_000
"""More than this from a server would only waste our time (kei caps there too)."""

Protocol = Literal["s2k", "s2k_fo"]


@dataclass(frozen=True)
class ServerHello:
    """What ``signin/init`` answered, decoded."""

    salt: bytes
    iterations: int
    protocol: Protocol
    public: bytes
    """B, big-endian, as it came."""


@dataclass(frozen=True, repr=False)
class Proof:
    """Both halves of the proof: Apple's clients send M2 as well."""

    m1: bytes
    m2: bytes
    key: bytes
    """K, the session key."""


class Exchange:
    """One side of one exchange: a secret ``a`` and its public A. Never use one twice."""

    def __init__(self, secret: int | None = None) -> None:
        self._secret = secrets.randbits(256) if secret is None else secret
        self.public = pad(to_bytes(pow(GENERATOR, self._secret, PRIME)))
        """A, big-endian, in its full width."""

    def prove(self, account_name: str, password: str, hello: ServerHello) -> Proof:
        """The proof that we know the password of ``account_name`` (used as given: lower-case it).

        Takes tens of milliseconds, and seconds with many iterations: call it in a thread. Raises
        ProtocolError for numbers that no honest server sends.
        """
        _check(hello)
        derived = derive_key(password, hello.salt, hello.iterations, hello.protocol)
        return self.prove_with_key(account_name, derived, hello.salt, hello.public)

    def prove_with_key(
        self, account_name: str, derived: bytes, salt: bytes, public: bytes
    ) -> Proof:
        """As ``prove``, for a key that is derived already, and any reading of the salt."""
        server_public = int.from_bytes(public, "big")
        if server_public % PRIME == 0 or server_public >= PRIME:
            raise ProtocolError("Apple's part of the sign-in exchange is not a valid number.")
        scramble = _number(self.public, pad(to_bytes(server_public)))
        if scramble == 0:
            raise ProtocolError("Apple's part of the sign-in exchange is not a valid number.")
        x = _number(salt, _hash(b":", derived))
        base = (server_public - _MULTIPLIER * pow(GENERATOR, x, PRIME)) % PRIME
        shared = pow(base, self._secret + scramble * x, PRIME)
        key = _hash(pad(to_bytes(shared)))
        m1 = _hash(_GROUP_HASH, _hash(account_name.encode()), salt, self.public, public, key)
        return Proof(m1=m1, m2=_hash(self.public, m1, key), key=key)


def derive_key(password: str, salt: bytes, iterations: int, protocol: Protocol) -> bytes:
    """The 32-byte key from the password. ``s2k_fo`` hashes the digest's hexadecimal form."""
    digest = hashlib.sha256(password.encode())
    secret = digest.hexdigest().encode() if protocol == "s2k_fo" else digest.digest()
    return hashlib.pbkdf2_hmac("sha256", secret, salt, iterations, 32)


def to_bytes(number: int) -> bytes:
    """Big-endian without leading zero bytes."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def pad(number: bytes) -> bytes:
    """Left-zero to the group's width."""
    return number.rjust(WIDTH, b"\0")


def _check(hello: ServerHello) -> None:
    if not 1 <= hello.iterations <= MOST_ITERATIONS:
        raise ProtocolError(f"Apple asks for {hello.iterations} iterations, which cannot be meant.")


def _hash(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _number(*parts: bytes) -> int:
    return int.from_bytes(_hash(*parts), "big")


_MULTIPLIER = _number(to_bytes(PRIME), pad(to_bytes(GENERATOR)))
_GROUP_HASH = bytes(
    a ^ b for a, b in zip(_hash(to_bytes(PRIME)), _hash(pad(to_bytes(GENERATOR))), strict=True)
)
