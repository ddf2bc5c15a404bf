"""idmsa: the sign-in service (facts/sign-in.md §1.2 to §1.6)."""

# ruff: noqa: ARG002 — handlers share one signature, whatever each of them needs

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable

import msgspec

from icloudfs.apple.wire import ACCOUNT_LOCKED, WRONG_CODE, WRONG_PASSWORD
from icloudfs.simulator import srp
from icloudfs.simulator.account import Doorkeeper, Pending, SignIn
from icloudfs.simulator.clock import Clock
from icloudfs.simulator.cookies import set_cookie
from icloudfs.simulator.faults import Faults, Switches
from icloudfs.simulator.message import Json, Request, Response, json_response

ROOT = "/appleauth/auth"
_SHORT_TOKEN = 3600.0
"""Seconds that a session token is good for accountLogin before trust."""
_LONG_TOKEN = 60 * 86_400.0

Handler = Callable[[Request, SignIn], Response]


class Identity:
    """Answers everything below ``/appleauth/auth``."""

    def __init__(self, keeper: Doorkeeper, faults: Faults, clock: Clock) -> None:
        self._keeper = keeper
        self._faults = faults
        self._clock = clock
        self._handlers: dict[tuple[str, str], Handler] = {
            ("GET", "/authorize/signin"): self._page,
            ("POST", "/federate"): self._federate,
            ("POST", "/signin/init"): self._init,
            ("POST", "/signin/complete"): self._complete,
            ("POST", "/repair/complete"): self._repair,
            ("POST", "/escrow/init"): self._escrow_init,
            ("POST", "/escrow/complete"): self._escrow_complete,
            ("GET", ""): self._state,
            ("PUT", "/verify/trusteddevice/securitycode"): self._push,
            ("GET", "/verify/trusteddevice/securitycode"): self._push,
            ("PUT", "/verify/trusteddevice"): self._withdrawn,
            ("POST", "/verify/trusteddevice/securitycode"): self._device_code,
            ("PUT", "/verify/phone"): self._text,
            ("POST", "/verify/phone/securitycode"): self._phone_code,
            ("POST", "/verify/security/key"): self._security_key,
            ("GET", "/2sv/trust"): self._trust,
        }

    def answer(self, request: Request) -> Response:
        """Raises BadRequestError."""
        path = request.path.removeprefix(ROOT).rstrip("/")
        handler = self._handlers.get((request.method, path))
        if handler is None:
            return Response(404, [("Content-Type", "text/html")], b"<html>Not Found</html>")
        sign_in = self._keeper.sign_in(request.headers.get("x-apple-id-session-id"))
        if sign_in is None or not self._scnt_is_good(request, sign_in):
            return self._refused(401, "-1", "Your session has expired", request)
        response = handler(request, sign_in)
        self._add_session_headers(request, response, sign_in)
        return response

    def _scnt_is_good(self, request: Request, sign_in: SignIn) -> bool:
        given = request.headers.get("scnt")
        if not given or not sign_in.scnt:
            return not (self._faults.switches.strict_scnt and sign_in.scnt and not given)
        if self._faults.switches.strict_scnt:
            return given == sign_in.scnt
        return given == sign_in.scnt or given in sign_in.older_scnts

    def _add_session_headers(self, request: Request, response: Response, sign_in: SignIn) -> None:
        """The headers that a client has to harvest from every answer, errors included."""
        if sign_in.scnt:
            sign_in.older_scnts.add(sign_in.scnt)
        sign_in.scnt = secrets.token_urlsafe(96)
        response.headers += [
            ("scnt", sign_in.scnt),
            ("X-Apple-ID-Session-Id", sign_in.id),
            ("X-Apple-Auth-Attributes", sign_in.auth_attributes),
            ("X-Apple-I-Request-ID", secrets.token_hex(16)),
            ("Server", "Apple"),
        ]
        if not any(name == "X-Apple-I-Rscd" for name, _ in response.headers):
            response.headers.append(("X-Apple-I-Rscd", str(response.status)))
        expires = self._clock.wall() + 86_400
        response.headers.append(set_cookie(request, "dslang", "US-EN", expires))
        response.headers.append(set_cookie(request, "site", "USA", expires))
        response.headers.append(set_cookie(request, "aasp", secrets.token_hex(32), expires))

    # -- the password ----------------------------------------------------------------------------

    def _page(self, request: Request, sign_in: SignIn) -> Response:
        return Response(200, [("Content-Type", "text/html;charset=UTF-8")], b"<html></html>")

    def _federate(self, request: Request, sign_in: SignIn) -> Response:
        request.json()
        return json_response({"isFederated": False})

    def _init(self, request: Request, sign_in: SignIn) -> Response:
        name = str(request.json().get("accountName", "")).lower()
        if not name:
            return self._refused(400, "-20528", "Malformed request", request)
        ours = self._keeper.account.apple_id.lower()
        return self._offer(request, sign_in, ours, known=name == ours)

    def _offer(
        self, request: Request, sign_in: SignIn, name: str, *, known: bool = True
    ) -> Response:
        """The server's numbers for a proof under ``name``."""
        body, account = request.json(), self._keeper.account
        a_public = _decoded(body.get("a"))
        if srp.is_invalid(a_public):
            return self._refused(400, "-20528", "Malformed request", request)
        if account.protocol not in body.get("protocols", []):
            return self._refused(400, "-20528", "No common protocol", request)
        switches = self._faults.switches
        salt = self._keeper.salt(switches)
        exchange = srp.draw(
            name,
            salt,
            self._keeper.verifier(salt),
            a_public,
            short_b=switches.b_begins_with_zero,
            short_s=switches.s_begins_with_zero,
        )
        c = f"d-{secrets.randbelow(1000):03}-{secrets.token_hex(18)}:MSA"
        self._keeper.pending[c] = Pending(sign_in, exchange, a_public, known)
        return json_response(
            {
                "iteration": account.iteration,
                "salt": base64.b64encode(salt).decode("ascii"),
                "protocol": account.protocol,
                "version": 1,
                "b": base64.b64encode(srp.number_bytes(exchange.public)).decode("ascii"),
                "c": c,
            }
        )

    def _complete(self, request: Request, sign_in: SignIn) -> Response:
        body = request.json()
        pending = self._keeper.pending.pop(str(body.get("c")), None)
        if self._faults.switches.account_locked:
            return self._refused(403, ACCOUNT_LOCKED, "This Apple ID has been locked", request)
        if pending is not None and not pending.known:
            # What Apple says about an Apple ID that it does not know (facts/sign-in.md §6.2).
            return self._refused(403, "-1", "Access denied", request)
        if pending is None or not _proves(pending, body, self._faults.switches):
            return self._refused(401, WRONG_PASSWORD, "Check the account and password", request)
        sign_in.password_given = True
        sign_in.complete = sign_in.escrow_open = False
        tokens = body.get("trustTokens") or []
        trusted = any(self._keeper.trusts(str(token)) for token in tokens)
        if self._faults.switches.trust_overlooked:
            trusted = False
        if self._keeper.account.two_factor == "none":
            return self._with_token(json_response({"authType": "sa"}, 412), "session-token")
        if self._keeper.account.stronger_password_wanted:
            return json_response({"authType": "hsa2"}, 412)
        if trusted:
            sign_in.proof = "trust"
        if trusted and self._keeper.account.escrow:
            sign_in.escrow_open = True
        elif trusted:
            sign_in.complete = True
            return self._with_token(json_response({"authType": "hsa2"}), "trusted-session-token")
        challenge: Json = {"authType": "hsa2", **self._security_challenge()}
        if self._faults.switches.rscd_instead_of_status:
            response = json_response(challenge, 200, [("X-Apple-I-Rscd", "409")])
        else:
            response = json_response(challenge, 409, self._escrow_headers())
        return self._with_token(response, "session-token")

    # -- the password once more (facts/sign-in.md §6.1) ------------------------------------------

    def _escrow_headers(self) -> list[tuple[str, str]]:
        header = self._keeper.account.escrow
        return [(header, "true")] if header else []

    def _escrow_init(self, request: Request, sign_in: SignIn) -> Response:
        if not sign_in.escrow_open or request.json().get("accountName") != "":
            return self._refused(400, "-20528", "Malformed request", request)
        return self._offer(request, sign_in, "")

    def _escrow_complete(self, request: Request, sign_in: SignIn) -> Response:
        """The proof is one without a name, and the session key comes with it."""
        body = request.json()
        pending = self._keeper.pending.pop(str(body.get("c")), None)
        if pending is None or pending.sign_in is not sign_in or not sign_in.escrow_open:
            return self._refused(400, "-20528", "Malformed request", request)
        proofs = pending.exchange.proofs(pending.a_public)
        if (
            not _proves(pending, body, self._faults.switches)
            or proofs is None
            or _decoded(body.get("k")) != proofs.key
        ):
            return self._refused(401, WRONG_PASSWORD, "Check the account and password", request)
        sign_in.escrow_open, sign_in.complete = False, True
        return self._with_token(json_response({}), "trusted-session-token")

    def _repair(self, request: Request, sign_in: SignIn) -> Response:
        if not sign_in.password_given:
            return self._refused(401, "-1", "Sign in first", request)
        sign_in.complete = True
        return self._with_token(json_response({}), "trusted-session-token")

    # -- the second factor -----------------------------------------------------------------------

    def _state(self, request: Request, sign_in: SignIn) -> Response:
        if "json" in request.headers.get("accept", "") and "text/html" not in request.headers.get(
            "accept", ""
        ):
            return json_response(self._state_json())
        args = {
            "direct": {
                "hasTrustedDevices": not self._faults.switches.no_trusted_devices,
                "authInitialRoute": "auth/verify/phone",
                "twoSV": {
                    "authFactors": ["sms", "voice", "trusteddevice"],
                    "sourceAppId": 1159,
                    "phoneNumberVerification": self._phones(),
                },
                **self._security_challenge(),
            },
            "additional": {},
        }
        boot = msgspec.json.encode(args).decode()
        page = (
            "<!DOCTYPE html>\n<html><head><title>Two-Factor Authentication</title></head><body>"
            f'<script type="application/json" class="boot_args">\n{boot}\n</script>'
            "</body></html>"
        )
        headers = [("Content-Type", "text/html;charset=UTF-8")]
        return Response(200, headers, page.encode())

    def _state_json(self) -> Json:
        phones = self._phones()
        state: Json = {
            **phones,
            "trustedPhoneNumber": phones["trustedPhoneNumbers"][0],
            "noTrustedDevices": self._faults.switches.no_trusted_devices,
            "authenticationType": "hsa2",
            "hsa2Account": True,
            **self._security_challenge(),
        }
        return {"phoneNumberVerification": state} if self._wrapped else state

    @property
    def _wrapped(self) -> bool:
        return self._faults.switches.wrapped_auth_state

    def _phones(self) -> Json:
        phones = [
            {
                "id": phone.id,
                "numberWithDialCode": phone.number,
                "obfuscatedNumber": phone.number.split(" ", 1)[-1],
                "lastTwoDigits": phone.last_two,
                "pushMode": "sms",
                "nonFTEU": phone.non_fteu,
            }
            for phone in self._keeper.account.phones
        ]
        code = {
            "length": 6,
            "tooManyCodesSent": False,
            "tooManyCodesValidated": False,
            "securityCodeLocked": False,
            "securityCodeCooldown": False,
        }
        return {"trustedPhoneNumbers": phones, "securityCode": code}

    def _security_challenge(self) -> Json:
        if not self._faults.switches.security_key:
            return {}
        challenge = {
            "challenge": base64.urlsafe_b64encode(b"icloudfs simulator challenge").decode("ascii"),
            "keyHandles": ["c2ltdWxhdGVkLWtleQ"],
            "rpId": "apple.com",
            "allowedCredentials": "c2ltdWxhdGVkLWtleQ",
        }
        return {"fsaChallenge": challenge, "keyNames": ["Simulated key"]}

    def _push(self, request: Request, sign_in: SignIn) -> Response:
        if not sign_in.password_given:
            return self._refused(401, "-1", "Sign in first", request)
        sign_in.pushed = True
        return json_response({"trustedDeviceCount": 1, **self._phones()}, 202)

    def _withdrawn(self, request: Request, sign_in: SignIn) -> Response:
        """How codes were pushed before 2026 (facts/sign-in.md §6.2)."""
        return Response(405)

    def _text(self, request: Request, sign_in: SignIn) -> Response:
        if not sign_in.password_given:
            return self._refused(401, "-1", "Sign in first", request)
        body = request.json()
        phone, mode = body.get("phoneNumber", {}).get("id"), body.get("mode")
        if phone not in {known.id for known in self._keeper.account.phones}:
            return self._refused(400, "-28248", "Phone number is not known", request)
        if mode not in ("sms", "voice"):
            return self._refused(400, "-20528", "Malformed request", request)
        if self._lacks_non_fteu(body):
            return self._refused(412, "-28200", "Precondition failed", request)
        sign_in.texted[phone] = mode
        return json_response({**self._phones(), "mode": mode, "authenticationType": "hsa2"})

    def _lacks_non_fteu(self, body: Json) -> bool:
        given = body.get("phoneNumber", {})
        known = {phone.id: phone.non_fteu for phone in self._keeper.account.phones}
        right = given.get("nonFTEU") is known.get(given.get("id"))
        return self._faults.switches.non_fteu_required and not right

    def _device_code(self, request: Request, sign_in: SignIn) -> Response:
        pushed = sign_in.pushed or not self._faults.switches.push_required
        return self._code(request, sign_in, asked=pushed, accepted=204)

    def _phone_code(self, request: Request, sign_in: SignIn) -> Response:
        body = request.json()
        if self._lacks_non_fteu(body):
            return self._refused(412, "-28200", "Precondition failed", request)
        phone, mode = body.get("phoneNumber", {}).get("id"), body.get("mode")
        asked = phone in sign_in.texted and sign_in.texted[phone] == mode
        return self._code(request, sign_in, asked=asked, accepted=200)

    def _code(self, request: Request, sign_in: SignIn, *, asked: bool, accepted: int) -> Response:
        if not sign_in.password_given:
            return self._refused(401, "-1", "Sign in first", request)
        code = request.json().get("securityCode", {}).get("code")
        if code != self._keeper.account.code or not asked:
            return self._refused(400, WRONG_CODE, "Incorrect Verification Code", request)
        account = self._keeper.account
        sign_in.complete = True
        sign_in.escrow_open = account.escrow is not None
        sign_in.proof = "code"
        if self._faults.switches.code_accepted_with_409 or account.escrow:
            return self._valid(code, 409)
        if account.code_accepted_with != 204:
            return self._valid(code, account.code_accepted_with)
        response = Response(204) if accepted == 204 else json_response(self._phones(), accepted)
        return self._with_token(response, "trusted-session-token")

    def _valid(self, code: str, status: int) -> Response:
        """A code is accepted with what reads like an error (facts/sign-in.md §6.1 and §6.2)."""
        body = {
            "securityCode": {"code": code, "valid": True, "length": 6},
            "authenticationType": "hsa2",
        }
        response = json_response(body, status, self._escrow_headers())
        return self._with_token(response, "trusted-session-token")

    def _security_key(self, request: Request, sign_in: SignIn) -> Response:
        if not sign_in.password_given or not request.json().get("signatureData"):
            return self._refused(400, "-20500", "Security key was not accepted", request)
        sign_in.complete = True
        sign_in.proof = "code"
        return self._with_token(Response(204), "trusted-session-token")

    def _trust(self, request: Request, sign_in: SignIn) -> Response:
        if not sign_in.complete:
            return self._refused(401, "-1", "Sign in first", request)
        if self._keeper.account.two_factor == "none":
            return Response(404)
        if not self._may_be_trusted(sign_in):
            return self._refused(401, "-1", "Verify your identity first", request)
        renewal = self._keeper.account.trust_renewal
        until = self._clock.wall() + self._keeper.account.trust_lifetime
        if sign_in.proof != "code" and renewal == "unchanged":
            until = self._keeper.tokens.latest("trust")
        if sign_in.escrow_open:
            until = 0.0  # without escrow a trust token is as good as none (§6.1)
        worthless = sign_in.proof != "code" and renewal == "worthless"
        sign_in.proof = ""
        response = Response(204)
        if worthless:
            response.headers += [
                ("X-Apple-TwoSV-Trust-Token", secrets.token_urlsafe(60)),
                ("X-Apple-Session-Token", secrets.token_urlsafe(60)),
            ]
            return response
        response.headers.append(("X-Apple-TwoSV-Trust-Token", self._keeper.mint_trust(until)))
        return self._with_token(response, "trusted-session-token")

    def _may_be_trusted(self, sign_in: SignIn) -> bool:
        """After a code always; without one as the account has it (facts/sign-in.md §6.3)."""
        match self._keeper.account.trust_renewal:
            case "sign-in":
                return sign_in.proof != ""
            case "never":
                return sign_in.proof == "code"
        return True

    # -- answers ---------------------------------------------------------------------------------

    def _with_token(self, response: Response, kind: str) -> Response:
        lifetime = _SHORT_TOKEN if kind == "session-token" else _LONG_TOKEN
        response.headers += [
            ("X-Apple-Session-Token", self._keeper.tokens.mint(kind, lifetime)),
            ("X-Apple-ID-Account-Country", self._keeper.account.country),
            ("X-Apple-TwoSV-Trust-Eligible", "true"),
            ("X-Apple-OAuth-Grant-Code", secrets.token_urlsafe(24)),
        ]
        return response

    def _refused(self, status: int, code: str, message: str, request: Request) -> Response:
        """An error in whichever of its two spellings is switched on."""
        error = {"code": code, "message": message, "title": message, "suppressDismissal": False}
        key = "serviceErrors" if self._faults.switches.camel_case_errors else "service_errors"
        headers = [("X-Apple-I-Ercd", code), ("X-Apple-I-Rscd", str(status))]
        return json_response({key: [error], "hasError": True}, status, headers)


def _proves(pending: Pending, body: Json, switches: Switches) -> bool:
    m1, m2 = _decoded(body.get("m1")), _decoded(body.get("m2"))
    readings = (False, True) if switches.unpadded_a_too else (False,)
    exchange, a_public = pending.exchange, pending.a_public
    return any(exchange.accepts(a_public, m1, m2, unpadded_a=reading) for reading in readings)


def _decoded(value: object) -> bytes:
    try:
        return base64.b64decode(str(value or ""), validate=True)
    except binascii.Error:
        return b""
