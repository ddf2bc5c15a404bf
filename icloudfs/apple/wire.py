"""Constants of Apple's protocol that both a client and a server need."""

from __future__ import annotations

WIDGET_KEY = "d39ba9916b7251055b22c7f910e2ea796ee65e98b2ddecea8f5dde8d9d1a815d"
"""Apple's public web client key; the same in every client (facts/sign-in.md §1.2)."""

CLIENT_BUILD_NUMBER = "2534Project66"
CLIENT_MASTERING_NUMBER = "2534B22"

DATABASE_PATH = "/database/1/com.apple.photos.cloud/production"

WEB_TOKEN = "X-APPLE-WEBAUTH-TOKEN"
"""The cookie that the database wants (facts/sign-in.md §1.7)."""
TRUST_COOKIE = "X-APPLE-WEBAUTH-HSA-TRUST"
"""What the name of the cookie begins with whose ``Expires`` says how long a computer is trusted (§6.3)."""

PAGE_RECORDS = 200
"""Most records that CloudKit answers on one page, whatever is asked for (facts/cloudkit.md §1.7)."""
PAGE_ASSETS = PAGE_RECORDS // 2
"""A listing page holds a CPLMaster and a CPLAsset for each photo."""

PRIMARY_ZONE = "PrimarySync"
SHARED_ZONE_PREFIX = "SharedSync-"
SHARED_ALBUM_PREFIX = "SharedCollection-"


def is_sendable(text: str) -> bool:
    """Whether a text may stand in the head of a request: ASCII that can be printed. What Apple gives us to be
    sent back is kept only then; else every later request would fail."""
    return text.isascii() and text.isprintable()


# CloudKit's own codes for "the same request will do later" (facts/cloudkit.md §1.10).
RETRYABLE_CODES = frozenset({"RETRY_LATER", "TRY_AGAIN_LATER", "CAS_OP_LOCK", "THROTTLED"})

# Service errors of the sign-in service (facts/sign-in.md §1.5, §1.9).
WRONG_PASSWORD = "-20101"
WRONG_CODE = "-21669"
ACCOUNT_LOCKED = "-20209"
