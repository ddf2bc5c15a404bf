"""One proof of the password: the numbers that are exchanged, for the sign-in and for escrow alike.

The arithmetic is ``srp``'s; here are the requests' bodies and the reading of the answers
(facts/sign-in.md §1.3, §1.4 and §6.4).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import trio

from icloudfs.apple import idmsa, srp
from icloudfs.apple.transport import Answer
from icloudfs.errors import ProtocolError


@dataclass(frozen=True, repr=False)
class Hello:
    """What ``init`` answers: the numbers, and ``c``, which is echoed unread."""

    numbers: srp.ServerHello
    cookie: Any


Init = Callable[[dict[str, Any]], Awaitable[Hello]]
"""Sends the opening of an exchange."""
Complete = Callable[[dict[str, Any], srp.Proof], Awaitable[Answer]]
"""Sends the proof: the part of the body that is the same everywhere, and the numbers behind it."""


async def prove(account_name: str, password: str, init: Init, complete: Complete) -> Answer:
    """One exchange; what ``complete`` answered. ``account_name`` is used as given: lower-case it.

    Half of the known clients strip the salt's leading zeros, and which half Apple agrees with is
    unknown; only accounts with such a salt can tell, and for those a second exchange tries the
    other reading (§1.4). Raises ProtocolError for numbers that no honest server sends.
    """
    answer, salt = await _exchange(account_name, password, init, complete, strip_salt=False)
    if idmsa.is_wrong_password(answer) and salt[:1] == b"\0":
        answer, _ = await _exchange(account_name, password, init, complete, strip_salt=True)
    return answer


async def _exchange(
    account_name: str, password: str, init: Init, complete: Complete, *, strip_salt: bool
) -> tuple[Answer, bytes]:
    exchange = srp.Exchange()
    hello = await init(
        {
            "a": to_base64(exchange.public),
            "accountName": account_name,
            "protocols": ["s2k", "s2k_fo"],
        }
    )
    proof = await trio.to_thread.run_sync(
        _compute, exchange, account_name, password, hello.numbers, strip_salt
    )
    body = {"c": hello.cookie, "m1": to_base64(proof.m1), "m2": to_base64(proof.m2)}
    return await complete(body, proof), hello.numbers.salt


def _compute(
    exchange: srp.Exchange,
    account_name: str,
    password: str,
    hello: srp.ServerHello,
    strip_salt: bool,
) -> srp.Proof:
    """In a thread: 20,000 rounds take about 15 ms, a million would take most of a second."""
    if not strip_salt:
        return exchange.prove(account_name, password, hello)
    derived = srp.derive_key(password, hello.salt, hello.iterations, hello.protocol)
    return exchange.prove_with_key(account_name, derived, hello.salt.lstrip(b"\0"), hello.public)


def hello(answer: Answer) -> Hello:
    """Raises ProtocolError for an answer that is none of the known shapes."""
    found = answer.json()
    protocol, iterations = found.get("protocol"), found.get("iteration")
    if protocol not in ("s2k", "s2k_fo") or not isinstance(iterations, int) or "c" not in found:
        raise ProtocolError("Apple's answer to the sign-in is in an unknown form.")
    try:
        salt = base64.b64decode(found["salt"], validate=True)
        public = base64.b64decode(found["b"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise ProtocolError("Apple's answer to the sign-in is in an unknown form.") from None
    return Hello(srp.ServerHello(salt, iterations, protocol, public), found["c"])


def to_base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
