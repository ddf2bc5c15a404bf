"""The one family of errors that a person can meet.

Each class carries an exit code of its own, so that a script can tell them apart, and a hint: what to
do next. The command line prints ``str(error)`` and the hint and nothing else; a traceback that
reaches a user is a bug. The codes are part of the interface (README, "Exit codes").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class IcloudfsError(Exception):
    """Something went wrong that a person can be told about in one sentence."""

    exit_code = 1
    hint = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


# -- the account ---------------------------------------------------------------------------------


class WrongPassword(IcloudfsError):
    """Apple refused the password (service error -20101; nothing else is called that)."""

    exit_code = 3
    hint = "Check the Apple ID and its password."


class WrongCode(IcloudfsError):
    """Apple refused the six-digit code (service error -21669)."""

    exit_code = 4
    hint = (
        "Only the newest code counts. If none comes: iPhone Settings, your name, Sign-In & Security, "
        "Get Verification Code."
    )


class WrongRegion(IcloudfsError):
    """The account lives in the other region, or the region is unknown."""

    exit_code = 6
    hint = "Choose the region with --region global or --region china."


class AccountLocked(IcloudfsError):
    """Apple has locked the account or wants the person to act on its web site first."""

    exit_code = 12
    hint = "Sign in at https://www.icloud.com and follow what it asks."


class ConsentNeeded(IcloudfsError):
    """Advanced Data Protection: a device must approve web access first."""

    exit_code = 14
    hint = "Approve the request on your iPhone, iPad or Mac, then try again."


class NotSupported(IcloudfsError):
    """The account asks for a way to sign in that icloudfs does not know."""

    exit_code = 15


class NoPhotos(IcloudfsError):
    """The account has no iCloud Photos, or they were never switched on."""

    exit_code = 20
    hint = "Turn on iCloud Photos on a device, then sign in at https://www.icloud.com once."


class LoginNeeded(IcloudfsError):
    """There is no session, or Apple no longer accepts it."""

    exit_code = 78
    hint = "Run 'icloudfs login'."


# -- the network and Apple's servers -------------------------------------------------------------


class Offline(IcloudfsError):
    """No answer from the network: name resolution, connection, TLS or a deadline."""

    exit_code = 5
    hint = "Check the network connection; what is cached stays readable."


class WrongClock(Offline):
    """This computer's clock is wrong: no certificate verifies, or every session has ended when it begins."""

    exit_code = 21
    hint = "Set the clock: sudo timedatectl set-ntp true."


class Throttled(IcloudfsError):
    """Apple asks to slow down and kept asking for as long as we were willing to wait."""

    exit_code = 13
    hint = "Wait a while before trying again; more tries lengthen the lock-out."

    def __init__(
        self, message: str, *, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        """Seconds, as Apple asked for, if it did."""


class ProtocolError(IcloudfsError):
    """An answer that is none of the documented shapes."""

    exit_code = 17
    hint = "Please report it: Apple may have changed something."


# -- this machine --------------------------------------------------------------------------------


class MountPointError(IcloudfsError):
    """The mount point cannot be used: a file, not empty, missing, busy."""

    exit_code = 7


class AlreadyRunning(IcloudfsError):
    """Another icloudfs holds this account's state."""

    exit_code = 8


class StateTooNew(IcloudfsError):
    """The database was written by a newer icloudfs. It is left untouched."""

    exit_code = 9
    hint = "Upgrade icloudfs, or choose another --cookie-directory."


class StateDamaged(IcloudfsError):
    """The database cannot be opened as one of ours."""

    exit_code = 18
    hint = "Move it away and run 'icloudfs sync': nothing in iCloud is lost with it."


class StateUnreachable(StateDamaged):
    """The disk does not give or take the database now; with the disk, it is all right again."""

    hint = "Check its directory, the disk and the permissions."


class ConfigError(IcloudfsError):
    """An option, an environment variable or the config file is wrong."""

    exit_code = 10


class CacheUnusable(IcloudfsError):
    """The cache directory cannot be created or written."""

    exit_code = 11
    hint = "Choose another one with --cache-dir."


class TooManyOpenFiles(IcloudfsError):
    """This process may open no more files. It says nothing of what was to be opened."""

    exit_code = 22
    hint = "Close some, or raise the limit: ulimit -n, or LimitNOFILE= of the service."


class Incomplete(IcloudfsError):
    """The command did what it could, and something was left over."""

    exit_code = 16


class StillGrowing(Incomplete):
    """The library is not listed to its end: what was done was done with what there is."""

    hint = "Wait until 'icloudfs status' says no more that it is incomplete, and do it again."


class NeverListed(Incomplete):
    """Nothing is known of the library yet: what it does not know means nothing."""

    hint = "Mount it, or have it listed and nothing downloaded: 'icloudfs sync --mirror demand'."

    def __init__(self) -> None:
        super().__init__("The library was never listed.")


# -- one file ------------------------------------------------------------------------------------


class ContentError(IcloudfsError):
    """One file's content could not be had. Readers get EIO, or ENOSPC when the disk is full."""

    exit_code = 19


class DiskSilent(ContentError):
    """The disk that has the content does not answer: it sleeps, is far away, or stands still."""


class ContentMismatch(ContentError):
    """The bytes that came are not the bytes that iCloud announced."""


class ContentUnavailable(ContentError):
    """iCloud has no such content now: no download URL, or the record is gone."""


class DiskFull(ContentError):
    """There is no room for the content, and nothing more to evict."""


# -- out of groups -------------------------------------------------------------------------------


@contextmanager
def one_error() -> Iterator[None]:
    """What went wrong first, out of the group that a nursery makes of its tasks' errors."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise foremost(group) from None


def foremost(error: BaseException) -> BaseException:
    """Of a group, what nobody foresaw before all else; then that we are cancelled, which must reach whoever
    cancelled us; then the first of the errors that have a sentence. Of any other error, itself."""
    errors = list(_leaves(error))
    unforeseen = [
        e for e in errors if isinstance(e, Exception) and not isinstance(e, IcloudfsError)
    ]
    cancelled = [e for e in errors if not isinstance(e, Exception)]
    return (unforeseen or cancelled or errors)[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
