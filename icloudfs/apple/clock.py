"""This computer's clock, compared with the ``Date`` of Apple's answers.

By a wrong clock cookies have expired when they come, and certificates do not verify: what is seen then is a
session that ends at once, or no connection. So the clock is named as soon as it is off by more than five
minutes, which is what Apple's own services put up with.
"""

from __future__ import annotations

import email.utils
import ssl
import time
from collections.abc import Mapping

from icloudfs.units import duration

LIMIT = 300
"""Seconds that the clock may be off."""
UNKNOWN = 1
"""What stands for an unknown number of seconds: by a certificate one knows the side, and no more."""

_NOT_YET_VALID, _EXPIRED = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL's x509_vfy.h."""


def seconds_off(headers: Mapping[str, str]) -> int | None:
    """How far this clock is ahead of an answer's ``Date``; 0 within LIMIT, None without a date."""
    try:
        told = email.utils.parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    off = round(time.time() - told)
    return off if abs(off) > LIMIT else 0


def off_by_certificate(error: ssl.SSLCertVerificationError) -> int:
    """UNKNOWN to the side that a certificate of another time tells of; 0 for any other trouble."""
    match error.verify_code:
        case code if code == _NOT_YET_VALID:
            return -UNKNOWN
        case code if code == _EXPIRED:
            return UNKNOWN
    return 0


def sentence(off: int) -> str:
    """What is wrong with this clock, or nothing. ``off``: seconds ahead, as ``Session.clock_off``."""
    if not off:
        return ""
    side = "ahead of" if off > 0 else "behind"
    if abs(off) == UNKNOWN:
        return f"This computer's clock seems to be {side} Apple's."
    return f"This computer's clock is {duration(abs(off))} {side} Apple's."
