"""setup: accountLogin and its neighbours (facts/sign-in.md §1.7 and §1.8)."""

# ruff: noqa: ARG002 — handlers share one signature, whatever each of them needs

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

from icloudfs.apple.wire import TRUST_COOKIE, WEB_TOKEN
from icloudfs.simulator.account import Doorkeeper
from icloudfs.simulator.clock import Clock
from icloudfs.simulator.cookies import (
    PCS_COOKIES,
    REPAIR,
    Header,
    delete_cookie,
    set_cookie,
)
from icloudfs.simulator.faults import Faults
from icloudfs.simulator.message import Json, Request, Response, json_response

ROOT = "/setup/ws/1"
_PARTITION = "p61"
_OTHER_PCS = ("Documents", "News", "Notes", "Cloudkit", "Mail", "Safari")
_SERVICES = (
    "drivews",
    "docws",
    "contacts",
    "calendar",
    "findme",
    "reminders",
    "sharedstreams",
    "uploadimagews",
)

Handler = Callable[[Request], Response]


class Setup:
    """Answers everything below ``/setup/ws/1``."""

    def __init__(self, keeper: Doorkeeper, faults: Faults, clock: Clock) -> None:
        self._keeper = keeper
        self._faults = faults
        self._clock = clock
        self._handlers: dict[str, Handler] = {
            "/accountLogin": self._account_login,
            "/validate": self._validate,
            "/logout": self._logout,
            "/listDevices": self._list_devices,
            "/sendVerificationCode": self._send_code,
            "/validateVerificationCode": self._validate_code,
            "/requestWebAccessState": self._web_access_state,
            "/enableDeviceConsentForPCS": self._ask_consent,
            "/requestPCS": self._request_pcs,
            "/getTerms": self._terms,
            "/repairDone": self._accept_terms,
            "/storageUsageInfo": self._storage,
        }

    def answer(self, request: Request) -> Response:
        """Raises BadRequestError."""
        handler = self._handlers.get(request.path.removeprefix(ROOT))
        if handler is None:
            return json_response({"success": False, "error": "Not Found"}, 404)
        return handler(request)

    # -- signing in ------------------------------------------------------------------------------

    def _account_login(self, request: Request) -> Response:
        body = request.json()
        other = self._other_region(request)
        if other:
            return json_response({"domainToUse": other}, self._keeper.account.elsewhere or 200)
        token = str(body.get("dsWebAuthToken") or "")
        tokens = self._keeper.tokens
        trusted = tokens.valid("trusted-session-token", token)
        if not trusted and not tokens.valid("session-token", token):
            return _misdirected("Invalid Session Token")
        trust = str(body.get("trustToken") or "")
        trusted = trusted or self._keeper.trusts(trust)
        headers = self._login_cookies(request)
        if self._keeper.account.repair_needed:
            until = self._clock.wall() + self._keeper.account.web_token_lifetime
            headers.append(set_cookie(request, REPAIR, secrets.token_urlsafe(30), until))
        elif trusted:
            headers += self._trusted_cookies(request)
        if trusted and self._keeper.trusts(trust):
            headers.append(self._trust_cookie(request, tokens.until("trust", trust)))
        return json_response(self._account(request, trusted=trusted), headers=headers)

    def _validate(self, request: Request) -> Response:
        problem = self._no_session(request)
        return problem or json_response(self._account(request, trusted=True))

    def _logout(self, request: Request) -> Response:
        body = request.json()
        self._keeper.tokens.forget("web-token", request.cookies.get(WEB_TOKEN, ""))
        if body.get("allBrowsers"):
            self._keeper.tokens.expire("web-token")
        if not body.get("trustBrowser"):
            self._keeper.tokens.expire("trust")
        return json_response({"success": True}, headers=[delete_cookie(request, WEB_TOKEN)])

    def _other_region(self, request: Request) -> str:
        """The domain to use instead, if the account lives in the other region."""
        china = self._keeper.account.region == "china"
        origin = request.headers.get("origin", "")
        asked = request.host if request.at_apple else origin
        at_china = asked.rstrip("/").endswith(".cn")
        tells = request.at_apple or "icloud.com" in origin
        always = self._faults.switches.wrong_region or self._keeper.account.elsewhere
        if always or (tells and at_china != china):
            to_china = not at_china if tells else not china
            return "iCloud.com.cn" if to_china else "iCloud.com"
        return ""

    def _no_session(self, request: Request) -> Response | None:
        token = request.cookies.get(WEB_TOKEN)
        if not token:
            return _misdirected(f"Missing {WEB_TOKEN} cookie")
        if not self._keeper.tokens.valid("web-token", token):
            return _misdirected("Invalid Session Token")
        return None

    def _login_cookies(self, request: Request) -> list[Header]:
        until = self._clock.wall() + self._keeper.account.web_token_lifetime
        dsid = self._keeper.account.dsid
        session = secrets.token_urlsafe(40)
        values = {
            "X-APPLE-WEBAUTH-LOGIN": f"v=1:t={session}=",
            "X-APPLE-WEBAUTH-VALIDATE": f"v=1:t={secrets.token_urlsafe(40)}=",
            "X-APPLE-WEBAUTH-USER": f"v=1:s=0:d={dsid}",
            f"X_APPLE_WEB_KB-{secrets.token_hex(8).upper()}": f"v=1:t={secrets.token_hex(20)}~",
            "X-APPLE-DS-WEB-SESSION-TOKEN": self._keeper.tokens.mint("web-login", 86_400),
            "X-APPLE-UNIQUE-CLIENT-ID": secrets.token_hex(12),
        }
        headers = [set_cookie(request, name, value, until) for name, value in values.items()]
        headers.append(set_cookie(request, "X-APPLE-WEBAUTH-HSA-LOGIN", session, 1.0))
        return headers

    def _trusted_cookies(self, request: Request) -> list[Header]:
        account = self._keeper.account
        until = self._clock.wall() + account.web_token_lifetime
        headers = [self.web_token(request)]
        for name in _OTHER_PCS:
            value = secrets.token_urlsafe(30)
            headers.append(set_cookie(request, f"X-APPLE-WEBAUTH-PCS-{name}", value, until))
        if not account.advanced_data_protection:
            headers += self._pcs_cookies(request)
        return headers

    def _trust_cookie(self, request: Request, until: float) -> Header:
        """It ends when the trust does (facts/sign-in.md §6.3)."""
        owner = hashlib.sha256(self._keeper.account.dsid.encode()).hexdigest()[:16]
        return set_cookie(request, f"{TRUST_COOKIE}-{owner}", secrets.token_hex(24), until)

    def web_token(self, request: Request) -> Header:
        """A new web token, as a cookie; database answers hand one out now and then."""
        lifetime = self._keeper.account.web_token_lifetime
        token = self._keeper.tokens.mint("web-token", lifetime)
        return set_cookie(request, WEB_TOKEN, token, self._clock.wall() + lifetime)

    def _pcs_cookies(self, request: Request) -> list[Header]:
        lifetime = self._keeper.account.pcs_lifetime
        until = self._clock.wall() + lifetime
        return [
            set_cookie(request, name, self._keeper.tokens.mint("pcs", lifetime), until)
            for name in PCS_COOKIES
        ]

    # -- what accountLogin and validate answer ---------------------------------------------------

    def _account(self, request: Request, *, trusted: bool) -> Json:
        account = self._keeper.account
        switches = self._faults.switches
        two_factor = account.two_factor == "hsa2"
        protected = account.advanced_data_protection
        return {
            "dsInfo": {
                "dsid": account.dsid,
                "appleId": account.apple_id,
                "primaryEmail": account.apple_id,
                "appleIdAlias": "",
                "fullName": "Alice Example",
                "firstName": "Alice",
                "lastName": "Example",
                "languageCode": "en-us",
                "locale": "en_US",
                "countryCode": account.country[:2],
                "hsaVersion": 2 if two_factor else 0,
                "hsaEnabled": two_factor,
                "hasICloudQualifyingDevice": True,
                "isWebAccessAllowed": not switches.web_access_forbidden,
                "iCDPEnabled": protected,
                "ICDRSCapableDeviceList": "",
                "locked": switches.account_locked,
                "statusCode": 2,
                "hasPaymentInfo": False,
                "brZoneConsolidated": True,
            },
            "hasMinimumDeviceForPhotosWeb": True,
            "hsaChallengeRequired": two_factor and not trusted,
            "hsaTrustedBrowser": trusted,
            "webservices": self._webservices(request),
            "pcsEnabled": True,
            "pcsDeleted": False,
            "pcsServiceIdentitiesIncluded": False,
            "termsUpdateNeeded": switches.terms_update_needed and not self._keeper.terms_accepted,
            "isRepairNeeded": account.repair_needed,
            "isUnderMaintenance": False,
            "isExtendedLogin": True,
            "apps": {
                "photos": {"canLaunchWithOneFactor": False},
                "find": {"canLaunchWithOneFactor": True},
            },
            "appsOrder": ["photos", "find"],
            "configBag": {"urls": {}, "accountCreateEnabled": True},
            "requestInfo": {"country": account.country[:2], "region": "CA", "timeZone": "UTC"},
            "ckPartition": _PARTITION,
            "userPartition": _PARTITION,
            "version": 2,
        }

    def _webservices(self, request: Request) -> Json:
        if request.at_apple:
            china = ".cn" if request.host.endswith(".cn") else ""
            url = f"https://{_PARTITION}-ckdatabasews.icloud.com{china}:443"
        else:
            url = request.here
        database: Json = {"url": url, "status": self._keeper.account.database_status}
        if self._keeper.account.advanced_data_protection:
            database["pcsRequired"] = True
        services: Json = {"ckdatabasews": database, "push": {}}
        for name in _SERVICES:
            services[name] = {"url": url.replace("ckdatabasews", name), "status": "active"}
        return services

    # -- older two-step verification -------------------------------------------------------------

    def _list_devices(self, request: Request) -> Response:
        devices = [
            {"deviceType": "SMS", "areaCode": "", "phoneNumber": "*" * 8 + phone.last_two}
            | {"deviceId": str(phone.id)}
            for phone in self._keeper.account.phones
        ]
        return json_response({"devices": devices})

    def _send_code(self, request: Request) -> Response:
        return json_response({"success": bool(request.json().get("deviceId"))})

    def _validate_code(self, request: Request) -> Response:
        if request.json().get("verificationCode") == self._keeper.account.code:
            return json_response({"success": True}, headers=self._trusted_cookies(request))
        return json_response({"success": False, "errorCode": -21669})

    # -- Advanced Data Protection ----------------------------------------------------------------

    def _web_access_state(self, request: Request) -> Response:
        problem = self._no_session(request)
        if problem is not None:
            return problem
        protected = self._keeper.account.advanced_data_protection
        if protected and self._keeper.consent_asks:
            self._ask_again()
        state: Json = {
            "isICDRSDisabled": protected,
            "isDeviceConsentedForPCS": self._keeper.consented or not protected,
        }
        if protected and self._keeper.consented:
            state["deviceConsentForPCSExpiry"] = int(1000 * self._keeper.consented_until)
        return json_response(state)

    def _ask_consent(self, request: Request) -> Response:
        problem = self._no_session(request)
        if problem is not None:
            return problem
        self._ask_again()
        return json_response({"isDeviceConsentNotificationSent": True})

    def _ask_again(self) -> None:
        """One more request that reaches the device; after enough of them its owner approves."""
        self._keeper.consent_asks += 1
        if self._keeper.consent_asks > self._keeper.account.approval_asks:
            self._keeper.consent()

    def _request_pcs(self, request: Request) -> Response:
        problem = self._no_session(request)
        if problem is not None:
            return problem
        derived = request.json().get("derivedFromUserAction") is True
        self._keeper.user_actions += derived
        allowed = not self._faults.switches.web_access_forbidden
        if self._keeper.account.advanced_data_protection and not self._keeper.consented:
            first = self._keeper.consent_asks == 0
            if derived or not first:
                self._ask_again()
            if not self._keeper.consented:
                message = (
                    "Requested the device to upload cookies."
                    if first
                    else "Cookies not available yet on server."
                )
                return _no_keys(message, allowed)
        if self._keeper.key_asks < self._keeper.account.late_keys:
            self._keeper.key_asks += 1
            return _no_keys("Cookies not available yet on server.", allowed)
        body = {"status": "success", "message": "Success", "isWebAccessAllowed": allowed}
        return json_response(body, headers=self._pcs_cookies(request))

    # -- the rest --------------------------------------------------------------------------------

    def _terms(self, request: Request) -> Response:
        return json_response({"iCloudTerms": {"version": 2026, "language": "en-us"}})

    def _accept_terms(self, request: Request) -> Response:
        self._keeper.terms_accepted = True
        return json_response({"success": True})

    def _storage(self, request: Request) -> Response:
        problem = self._no_session(request)
        if problem is not None:
            return problem
        return json_response(
            {
                "storageUsageInfo": {
                    "compStorageInBytes": 0,
                    "usedStorageInBytes": 48_000_000_000,
                    "totalStorageInBytes": 214_748_364_800,
                    "commerceStorageInBytes": 0,
                },
                "quotaStatus": {"overQuota": False, "haveMaxQuotaTier": False},
            }
        )


def _no_keys(message: str, allowed: bool) -> Response:
    return json_response({"status": "failure", "message": message, "isWebAccessAllowed": allowed})


def _misdirected(reason: str) -> Response:
    """421: there is no session, or it is over (facts/sign-in.md §1.9)."""
    return json_response({"success": False, "error": reason, "reason": reason}, 421)
