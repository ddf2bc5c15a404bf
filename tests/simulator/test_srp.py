"""The SRP server against known answers from an independent implementation (facts/srp-vectors.json)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from icloudfs.simulator import srp

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "srp-vectors.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("vector", VECTORS)
def test_known_answers(vector: dict[str, Any]) -> None:
    salt = base64.b64decode(vector["salt"])
    key = srp.derived_key(vector["password"], salt, vector["iteration"], vector["protocol"])
    assert key.hex() == vector["derived_key_hex"]

    v = srp.verifier(key, salt)
    exchange = srp.Exchange(vector["username"], salt, v, int(vector["b_hex"], 16))
    assert srp.number_bytes(exchange.public) == base64.b64decode(vector["B"])

    a_public = base64.b64decode(vector["A"])
    proofs = exchange.proofs(a_public)
    assert proofs is not None
    assert base64.b64encode(proofs.m1).decode() == vector["M1_if_A_B_S_padded_to_256"]
    unpadded = base64.b64decode(vector["M1"]), base64.b64decode(vector["M2"])
    if not vector["padding_matters"]:
        assert (proofs.m1, proofs.m2, proofs.key.hex()) == (*unpadded, vector["K_hex"])
    assert exchange.accepts(a_public, proofs.m1, proofs.m2)
    assert exchange.accepts(a_public, *unpadded) != vector["padding_matters"]
    assert not exchange.accepts(a_public, proofs.m1, proofs.m1)


def test_padding_matters_in_a_vector() -> None:
    assert [vector["padding_matters"] for vector in VECTORS].count(True) == 1


SALT = b"s" * 16
VERIFIER = srp.verifier(b"k" * 32, SALT)
A = pow(srp.G, 0x5EED, srp.N)


@pytest.mark.parametrize(("short_b", "short_s"), [(False, False), (True, False), (False, True)])
def test_numbers_begin_with_zeros_only_where_asked(short_b: bool, short_s: bool) -> None:
    raw = srp.number_bytes(A)
    exchange = srp.draw("someone", SALT, VERIFIER, raw, short_b=short_b, short_s=short_s)
    assert (srp.number_bytes(exchange.public)[0] == 0) == short_b
    assert (srp.number_bytes(exchange.shared(A))[0] == 0) == short_s


def test_an_a_that_begins_with_zero_is_padded() -> None:
    """Sent with its zeros or without them, it is the same number and gives the same proof."""
    secret = next(a for a in range(300, 5000) if pow(srp.G, a, srp.N).bit_length() <= 2040)
    a_public = srp.number_bytes(pow(srp.G, secret, srp.N))
    assert a_public[0] == 0
    exchange = srp.Exchange("someone", SALT, VERIFIER, 12345)
    assert exchange.proofs(a_public) == exchange.proofs(a_public.lstrip(b"\0"))
    other = exchange.proofs(a_public, unpadded_a=True)
    assert other is not None
    assert not exchange.accepts(a_public, other.m1, other.m2)
    assert exchange.accepts(a_public, other.m1, other.m2, unpadded_a=True)


def test_zero_is_no_public_value() -> None:
    exchange = srp.Exchange("someone", b"s" * 16, srp.verifier(b"k" * 32, b"s" * 16))
    assert exchange.proofs(b"\0" * 256) is None
    assert exchange.proofs(srp.N.to_bytes(256, "big")) is None
