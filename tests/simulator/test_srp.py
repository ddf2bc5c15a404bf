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
    minimal, padded = exchange.proofs(a_public)
    assert base64.b64encode(minimal.m1).decode() == vector["M1"]
    assert base64.b64encode(minimal.m2).decode() == vector["M2"]
    assert base64.b64encode(padded.m1).decode() == vector["M1_if_A_B_S_padded_to_256"]
    assert exchange.accepts(a_public, minimal.m1, minimal.m2)
    assert exchange.accepts(a_public, padded.m1, padded.m2)
    assert not exchange.accepts(a_public, minimal.m1, padded.m1)


def test_b_is_always_full_width() -> None:
    v = srp.verifier(b"k" * 32, b"s" * 16)
    for _ in range(20):
        public = srp.Exchange("someone", b"s" * 16, v).public
        assert public.bit_length() > 2040


def test_zero_is_no_public_value() -> None:
    exchange = srp.Exchange("someone", b"s" * 16, srp.verifier(b"k" * 32, b"s" * 16))
    assert exchange.proofs(b"\0" * 256) == []
    assert exchange.proofs(srp.N.to_bytes(256, "big")) == []
