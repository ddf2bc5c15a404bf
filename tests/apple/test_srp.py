"""The known-answer vectors, and the traps of facts/sign-in.md §1.4."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from icloudfs.apple import srp
from icloudfs.errors import ProtocolError

VECTORS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("srp-vectors.json").read_text("utf-8")
)


def hello(vector: dict[str, Any]) -> srp.ServerHello:
    return srp.ServerHello(
        salt=base64.b64decode(vector["salt"]),
        iterations=vector["iteration"],
        protocol=vector["protocol"],
        public=base64.b64decode(vector["B"]),
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['protocol']}-{v['username']}")
def test_every_vector(vector: dict[str, Any]) -> None:
    exchange = srp.Exchange(int(vector["a_hex"], 16))
    assert base64.b64encode(exchange.public).decode() == vector["A"]
    proof = exchange.prove(vector["username"], vector["password"], hello(vector))
    assert proof.key.hex() == vector["K_hex"]
    assert base64.b64encode(proof.m1).decode() == vector["M1"]
    assert base64.b64encode(proof.m2).decode() == vector["M2"]
    assert proof.is_ambiguous == vector["S_leading_zero"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['protocol']}-{v['username']}")
def test_the_derived_key(vector: dict[str, Any]) -> None:
    given = hello(vector)
    key = srp.derive_key(vector["password"], given.salt, given.iterations, given.protocol)
    assert key.hex() == vector["derived_key_hex"]


def test_our_own_numbers_have_the_full_width() -> None:
    for _ in range(40):
        assert len(srp.Exchange().public) == srp.WIDTH


@pytest.mark.parametrize(
    "public", [0, srp.PRIME, 2 * srp.PRIME, srp.PRIME + 5], ids=["0", "N", "2N", "N+5"]
)
def test_numbers_that_would_give_the_password_away_are_refused(public: int) -> None:
    evil = srp.ServerHello(b"salt", 1, "s2k", srp.to_bytes(public))
    with pytest.raises(ProtocolError):
        srp.Exchange().prove("a@example.com", "password", evil)


@pytest.mark.parametrize("iterations", [0, -1, 1_000_001])
def test_absurd_iterations_are_refused(iterations: int) -> None:
    with pytest.raises(ProtocolError):
        srp.Exchange().prove("a", "b", srp.ServerHello(b"s", iterations, "s2k", b"\x05"))


def test_nothing_secret_in_a_repr() -> None:
    proof = srp.Exchange().prove("a", "b", srp.ServerHello(b"s", 1, "s2k", b"\x05"))
    assert proof.key.hex() not in repr(proof)
    assert "m1" not in repr(proof)
