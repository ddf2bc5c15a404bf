"""A client for these tests only: it signs in and calls CloudKit as a browser would.

Written from the facts, independently of icloudfs's own client.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Any

import httpx

from icloudfs.apple.wire import DATABASE_PATH
from icloudfs.simulator import Account
from icloudfs.simulator.srp import G, N, derived_key

Json = dict[str, Any]

_HARVESTED = {
    "x-apple-id-session-id": "X-Apple-ID-Session-Id",
    "scnt": "scnt",
    "x-apple-auth-attributes": "X-Apple-Auth-Attributes",
}


class Browser:
    """One browser profile: headers, cookies, tokens."""

    def __init__(self, http: httpx.AsyncClient, endpoints: dict[str, str]) -> None:
        self.http = http
        self.endpoints = endpoints
        self.headers: dict[str, str] = {}
        self.session_token = ""
        self.trust_token = ""
        self.database = ""
        self.streams = ""

    async def auth(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> httpx.Response:
        answer = await self.http.request(
            method,
            self.endpoints["auth"] + path,
            json=body,
            headers={"Accept": "application/json", **self.headers, **headers},
        )
        for name, wire in _HARVESTED.items():
            if name in answer.headers:
                self.headers[wire] = answer.headers[name]
        self.session_token = answer.headers.get("X-Apple-Session-Token", self.session_token)
        self.trust_token = answer.headers.get("X-Apple-TwoSV-Trust-Token", self.trust_token)
        return answer

    async def setup(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        url = self.endpoints["setup"] + path
        return await self.http.post(url, json=body, headers=headers)

    async def password(self, account: Account, password: str | None = None) -> httpx.Response:
        """SRP: init and complete."""
        a = secrets.randbits(256)
        a_public = pow(G, a, N)
        init = await self.auth(
            "POST",
            "/signin/init",
            {
                "a": _b64(a_public.to_bytes(256, "big")),
                "accountName": account.apple_id,
                "protocols": ["s2k", "s2k_fo"],
            },
        )
        assert init.status_code == 200, init.text
        offer = init.json()
        word = password or account.password
        m1, m2, _ = client_proofs(account.apple_id, word, offer, a, a_public)
        tokens = [self.trust_token] if self.trust_token else []
        return await self.auth(
            "POST",
            "/signin/complete?isRememberMeEnabled=true",
            {
                "accountName": account.apple_id,
                "c": offer["c"],
                "m1": _b64(m1),
                "m2": _b64(m2),
                "rememberMe": True,
                "trustTokens": tokens,
            },
        )

    async def escrow(self, password: str, *, name: str = "", key: bytes = b"") -> httpx.Response:
        """The second proof: without a name, and with the session key (facts/sign-in.md §6.1)."""
        a = secrets.randbits(256)
        a_public = pow(G, a, N)
        init = await self.auth(
            "POST",
            "/escrow/init",
            {
                "a": _b64(a_public.to_bytes(256, "big")),
                "accountName": "",
                "protocols": ["s2k", "s2k_fo"],
            },
        )
        if init.status_code != 200:
            return init
        offer = init.json()
        m1, m2, k = client_proofs(name, password, offer, a, a_public)
        body = {"m1": _b64(m1), "m2": _b64(m2), "c": offer["c"], "k": _b64(key or k)}
        return await self.auth("POST", "/escrow/complete", body)

    async def account_login(self) -> httpx.Response:
        answer = await self.setup(
            "/accountLogin",
            {
                "accountCountryCode": "USA",
                "dsWebAuthToken": self.session_token,
                "extended_login": True,
                "trustToken": self.trust_token,
            },
        )
        services = answer.json().get("webservices", {})
        self.database = services.get("ckdatabasews", {}).get("url", self.database)
        self.streams = services.get("sharedstreams", {}).get("url", self.streams)
        return answer

    async def sign_in(self, account: Account) -> None:
        """All of it, with the device code."""
        assert (await self.password(account)).status_code == 409
        await self.auth("PUT", "/verify/trusteddevice/securitycode")
        body = {"securityCode": {"code": account.code}}
        answer = await self.auth("POST", "/verify/trusteddevice/securitycode", body)
        assert answer.status_code == 204
        assert (await self.auth("GET", "/2sv/trust")).status_code == 204
        assert (await self.account_login()).status_code == 200

    async def call(self, endpoint: str, body: object, area: str = "private") -> httpx.Response:
        url = f"{self.database}{DATABASE_PATH}/{area}/{endpoint}"
        params = {"remapEnums": "true", "getCurrentSyncToken": "true"}
        return await self.http.post(url, params=params, json=body)

    async def ask(self, endpoint: str, body: object, area: str = "private") -> Json:
        answer = await self.call(endpoint, body, area)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    async def query(
        self,
        kind: str,
        *,
        start: int = 0,
        direction: str = "ASCENDING",
        zone: Json | None = None,
        filters: dict[str, str] | None = None,
        area: str = "private",
        **more: Any,
    ) -> Json:
        by = [
            _equals("startRank", "INT64", start),
            _equals("direction", "STRING", direction),
            *(_equals(name, "STRING", value) for name, value in (filters or {}).items()),
        ]
        body = {
            "query": {"recordType": kind, "filterBy": by},
            "zoneID": zone or {"zoneName": "PrimarySync"},
            "resultsLimit": 200,
            **more,
        }
        return await self.ask("records/query", body, area)

    async def changes(
        self, token: str | None = None, zone: Json | None = None, area: str = "private", **more: Any
    ) -> Json:
        one: Json = {"zoneID": zone or {"zoneName": "PrimarySync"}, **more}
        if token is not None:
            one["syncToken"] = token
        answer = await self.ask("changes/zone", {"zones": [one]}, area)
        found: Json = answer["zones"][0]
        return found

    async def history(self, token: str | None = None, **more: Any) -> tuple[list[Json], str]:
        """Every change from a token on, and the token at the end."""
        records: list[Json] = []
        while True:
            page = await self.changes(token, **more)
            records += page["records"]
            token = str(page["syncToken"])
            if not page["moreComing"]:
                return records, token


def _equals(name: str, kind: str, value: object) -> Json:
    return {
        "fieldName": name,
        "comparator": "EQUALS",
        "fieldValue": {"type": kind, "value": value},
    }


def client_proofs(
    user: str, password: str, offer: Json, a: int, a_public: int
) -> tuple[bytes, bytes, bytes]:
    """M1, M2 and K by facts/sign-in.md §1.4 and §6.4, from the client's side."""
    salt = base64.b64decode(offer["salt"])
    b_public = int.from_bytes(base64.b64decode(offer["b"]), "big")
    key = derived_key(password, salt, offer["iteration"], offer["protocol"])
    x = _int(_h(salt, _h(b":", key)))
    k = _int(_h(_raw(N), G.to_bytes(256, "big")))
    u = _int(_h(a_public.to_bytes(256, "big"), b_public.to_bytes(256, "big")))
    shared = pow(b_public - k * pow(G, x, N), a + u * x, N)
    session_key = _h(_wide(shared))
    group = bytes(p ^ q for p, q in zip(_h(_raw(N)), _h(G.to_bytes(256, "big")), strict=True))
    m1 = _h(group, _h(user.lower().encode()), salt, _wide(a_public), _wide(b_public), session_key)
    return m1, _h(_wide(a_public), m1, session_key), session_key


def _h(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _int(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def _wide(number: int) -> bytes:
    return number.to_bytes(256, "big")


def _raw(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
