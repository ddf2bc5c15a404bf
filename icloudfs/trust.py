"""How long Apple trusts this computer, in the words that every command uses.

Trust is what spares the code at a sign-in. It lasts about 30 days, holds only at the internet address where it
was got, and Apple renews it for some accounts and not for others (facts/sign-in.md §6.3).
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from icloudfs.apple.session import Session, TrustRenewal
from icloudfs.units import duration

RENEW = "icloudfs login --renew-trust"
WARN_BEFORE = 7 * 86_400
"""Seconds that a person may need to find the time for a code."""

BOUND = "at the internet address where it was got"


class Trust(NamedTuple):
    """Of one session. Moments in seconds since the epoch."""

    until: float
    """0: there is none."""
    renewal: TrustRenewal

    @classmethod
    def of(cls, session: Session) -> Trust:
        return cls(session.trusted_until / 1000, session.trust_renewal)

    @property
    def renews(self) -> bool | None:
        """Whether it is renewed by itself; None before it was first tried."""
        return None if self.renewal == "untried" else self.renewal in ("live", "sign-in")

    def ends_soon(self, now: float) -> bool:
        """Whether a person should get a new one."""
        return bool(self.until) and self.until - now < WARN_BEFORE and self.renews is False

    def complaint(self, now: float) -> str:
        """That it ends although it should not, and what to do; empty while all is well."""
        if not self.until or self.renews is not False:
            return ""
        if self.until <= now:
            return f"Apple's trust in this computer is over; get a new one: {RENEW}"
        return (
            f"Apple's trust in this computer ends in {duration(self.until - now)}; {self.way_out}"
        )

    @property
    def way_out(self) -> str:
        """What can be done about a trust that is not renewed by itself."""
        if self.renewal == "no-password":
            return f"keep the password to have it renewed (icloudfs login --save-password), or: {RENEW}"
        return f"Apple does not renew it without a code: {RENEW}"

    def told(self, now: float) -> str:
        """For ``status``."""
        if self.until <= now:
            return f"trust has run out, and the next sign-in needs a code: {RENEW}"
        until = datetime.fromtimestamp(self.until).astimezone().strftime("%x")
        lasts = f"trusted until about {until}, {duration(self.until - now)} from now, {BOUND}"
        match self.renews:
            case True:
                return f"{lasts}; renewed by itself"
            case False:
                return f"{lasts}; {self.way_out}"
        return lasts
