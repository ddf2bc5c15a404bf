"""The known-answer vectors, and the traps of facts/sign-in.md §1.4 and §6.4."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from icloudfs.apple import srp
from icloudfs.errors import ProtocolError
from icloudfs.simulator import srp as server

VECTORS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("srp-vectors.json").read_text("utf-8")
)


ACCOUNT_NAME, PASSWORD, SALT = "a@example.com", "password", b"salt"


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
    assert base64.b64encode(proof.m1).decode() == vector["M1_if_A_B_S_padded_to_256"]
    if not vector["padding_matters"]:  # the vectors' K and M2 are of the reading without padding
        assert proof.key.hex() == vector["K_hex"]
        assert base64.b64encode(proof.m2).decode() == vector["M2"]


def test_padding_matters_in_a_vector() -> None:
    assert [vector["padding_matters"] for vector in VECTORS].count(True) == 1


def of_server(a_public: bytes, *, short_b: bool = False, short_s: bool = False) -> server.Exchange:
    verifier = server.verifier(srp.derive_key(PASSWORD, SALT, 1, "s2k"), SALT)
    return server.draw(ACCOUNT_NAME, SALT, verifier, a_public, short_b=short_b, short_s=short_s)


def agree(client: srp.Exchange, other: server.Exchange) -> None:
    public = server.number_bytes(other.public)
    proof = client.prove(ACCOUNT_NAME, PASSWORD, srp.ServerHello(SALT, 1, "s2k", public))
    theirs = other.proofs(client.public)
    assert theirs is not None
    assert (proof.m1, proof.m2, proof.key) == (theirs.m1, theirs.m2, theirs.key)


def test_an_a_that_begins_with_zero_is_sent_and_hashed_whole() -> None:
    secret = next(a for a in range(300, 5000) if pow(2, a, srp.PRIME).bit_length() <= 2040)
    client = srp.Exchange(secret)
    assert len(client.public) == srp.WIDTH and client.public[0] == 0
    agree(client, of_server(client.public))


def test_a_b_that_begins_with_zero_is_hashed_as_it_came() -> None:
    client = srp.Exchange()
    agree(client, of_server(client.public, short_b=True))


def test_an_s_that_begins_with_zero_is_hashed_whole() -> None:
    client = srp.Exchange()
    agree(client, of_server(client.public, short_s=True))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['protocol']}-{v['username']}")
def test_the_derived_key(vector: dict[str, Any]) -> None:
    given = hello(vector)
    key = srp.derive_key(vector["password"], given.salt, given.iterations, given.protocol)
    assert key.hex() == vector["derived_key_hex"]


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
