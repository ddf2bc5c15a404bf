"""Accounts to choose from by name, as ``icloudfs simulator --account`` offers them.

Each shows one thing that Apple does with some accounts and not with others (facts/sign-in.md). They
share their Apple ID, password and code.
"""

from __future__ import annotations

from typing import NamedTuple

from icloudfs.simulator.account import Account


class Kind(NamedTuple):
    """A kind of account, and what is special about it, in half a sentence."""

    account: Account
    says: str
    indexing: float = 0.0
    """Seconds for which Apple is still indexing its library."""


ORDINARY = "ordinary"

KINDS: dict[str, Kind] = {
    ORDINARY: Kind(Account(), "two factors; a code, and then 30 days of trust"),
    "one-factor": Kind(Account(two_factor="none"), "a password and no code"),
    "escrow": Kind(
        Account(escrow="X-Apple-EDP"),
        "wants the password proved again after a code, and at each sign-in that sends a trust token",
    ),
    "code-409": Kind(
        Account(code_accepted_with=409), "a right code is answered 409 with valid:true"
    ),
    "code-412": Kind(
        Account(code_accepted_with=412), "a right code is answered 412 with valid:true"
    ),
    "stronger-password": Kind(
        Account(stronger_password_wanted=True),
        "a right password is answered 412, in spite of two factors",
    ),
    "other-region": Kind(
        Account(elsewhere=302), "accountLogin sends to the other region, with 302"
    ),
    "repair": Kind(
        Account(repair_needed=True),
        "something is to be done on icloud.com first: isRepairNeeded, and no cookie for the database",
    ),
    "inactive": Kind(Account(database_status="suspended"), "its database is not active"),
    "trust-after-sign-in": Kind(
        Account(trust_renewal="sign-in"), "its trust is renewed only right after a whole sign-in"
    ),
    "trust-once": Kind(Account(trust_renewal="never"), "its trust is not renewed without a code"),
    "trust-worthless": Kind(
        Account(trust_renewal="worthless"),
        "is given new trust tokens that accountLogin then refuses",
    ),
    "no-photos": Kind(Account(photos=False), "iCloud Photos was never switched on"),
    "consent": Kind(
        Account(advanced_data_protection=True, late_keys=1),
        "Advanced Data Protection: a device approves, and its consent ends after an hour",
    ),
    "indexing": Kind(
        Account(),
        "for ten minutes Apple is still indexing its library: lists and counts hold a third of it",
        indexing=600.0,
    ),
}
