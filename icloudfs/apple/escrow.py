"""Escrow: the password, proved a second time, which decides whether Apple's trust lasts.

Since iOS 26.4 some accounts want it after a code was accepted, and at each sign-in that sends a trust
token; a header of the 409 says so. Without it a trust token is as good as none: a code at every sign-in
(facts/sign-in.md §6.1). The proof is the sign-in's, with an empty account name, and the session key goes
with it.
"""

from __future__ import annotations

from typing import Any

from icloudfs.apple import idmsa, proof, srp
from icloudfs.apple.proof import Hello, to_base64
from icloudfs.apple.session import Session
from icloudfs.apple.transport import Answer, Transport
from icloudfs.errors import WrongPassword

_HEADERS = ("X-Apple-EDP", "X-Apple-PDP")


def is_wanted(answer: Answer) -> bool:
    """Whether Apple wants the password once more. What it is worth depends on what was sent: with a
    trust token or a right code it is all that is missing, else a code is needed first."""
    return any(name in answer.headers for name in _HEADERS)


async def settle(transport: Transport, session: Session, password: str) -> None:
    """Prove the password once more; the session's token is the new one afterwards.

    Raises WrongPassword, SignInOver, Throttled, Offline, and ProtocolError for any other refusal.
    """

    async def init(body: dict[str, Any]) -> Hello:
        answer = await idmsa.patiently(transport, session, "POST", "/escrow/init", body)
        _judge(answer)
        return proof.hello(answer)

    async def complete(body: dict[str, Any], numbers: srp.Proof) -> Answer:
        body |= {"k": to_base64(numbers.key)}
        return await idmsa.send(transport, session, "POST", "/escrow/complete", body)

    _judge(await proof.prove("", password, init, complete))
    session.escrow_owed = False


def _judge(answer: Answer) -> None:
    if 200 <= idmsa.status_of(answer) < 300:
        return
    if idmsa.is_wrong_password(answer):
        raise WrongPassword("Apple does not accept the password.")
    if idmsa.status_of(answer) == 401:
        raise idmsa.SignInOver("The sign-in that was waiting for its end is no longer valid.")
    raise idmsa.refusal(answer, "the second proof of the password")
