"""The one wrapper around every handler: an exception becomes an errno, never the end of the mount.

pyfuse3 unmounts everything when a handler raises anything but FUSEError (facts/fuse.md §0.5).

Which errno: a file manager or ``cp`` shows nothing but its sentence, so each cause has its own.

===================  ===========  ==================================  ======================================
error                errno        what a person reads                 why
===================  ===========  ==================================  ======================================
ContentMismatch      EIO          Input/output error                  the bytes are wrong: P1
ContentError         EIO          Input/output error                  iCloud does not have it, or not so
DiskFull             ENOSPC       No space left on device             also of the state's disk
StateDamaged         EIO          Input/output error                  the state cannot be read: one log line
TooManyOpenFiles     EMFILE       Too many open files                 ours, not the program's
Offline              ENETUNREACH  Network is unreachable              no answer within the deadline, too
Throttled            EBUSY        Device or resource busy             EAGAIN would make programs spin
LoginNeeded, …       ENOKEY       Required key not available          as the kernel's own AFS says it
anything unforeseen  EIO          Input/output error                  with a traceback in the log
===================  ===========  ==================================  ======================================
"""

from __future__ import annotations

import errno
import functools
import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

import pyfuse3

from icloudfs import errors
from icloudfs.aside import say

log = logging.getLogger(__name__)

Owner = TypeVar("Owner")
P = ParamSpec("P")
T = TypeVar("T")
Handler = Callable[Concatenate[Owner, P], Coroutine[Any, Any, T]]

ERRNO: dict[type[errors.IcloudfsError], int] = {
    errors.ContentError: errno.EIO,
    errors.ProtocolError: errno.EIO,
    errors.DiskFull: errno.ENOSPC,
    errors.StateDamaged: errno.EIO,
    errors.TooManyOpenFiles: errno.EMFILE,
    errors.Offline: errno.ENETUNREACH,
    errors.Throttled: errno.EBUSY,
    errors.LoginNeeded: errno.ENOKEY,
    errors.AccountLocked: errno.ENOKEY,
    errors.ConsentNeeded: errno.ENOKEY,
    errors.WrongPassword: errno.ENOKEY,
}
"""The nearest class of an error's ancestry decides."""


@overload
def guarded(handler: Handler[Owner, P, T]) -> Handler[Owner, P, T]: ...
@overload
def guarded(handler: Callable[Concatenate[Owner, P], T]) -> Handler[Owner, P, T]: ...
def guarded(handler: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Turn a method into a handler that raises nothing but FUSEError. Cancellation passes.

    A plain ``def`` becomes a handler that cannot await anything: that is how look-ups and directory
    pages are kept from ever waiting (DESIGN §6.5).
    """
    if inspect.iscoroutinefunction(handler):

        @functools.wraps(handler)
        async def answer(*arguments: Any) -> Any:
            try:
                return await handler(*arguments)
            except pyfuse3.FUSEError:
                raise
            except Exception as error:
                raise _as_fuse_error(error, handler.__name__) from error

    else:

        @functools.wraps(handler)
        async def answer(*arguments: Any) -> Any:
            try:
                return handler(*arguments)
            except pyfuse3.FUSEError:
                raise
            except Exception as error:
                raise _as_fuse_error(error, handler.__name__) from error

    return answer


def _as_fuse_error(error: Exception, handler: str) -> pyfuse3.FUSEError:
    cause = errors.foremost(error)
    if isinstance(cause, pyfuse3.FUSEError):
        return cause
    for ancestor in type(cause).__mro__:
        code = ERRNO.get(ancestor)
        if code is not None:
            if isinstance(cause, errors.StateDamaged):
                say(cause, handler)
            else:
                log.info("%s: %s", handler, cause)
            return pyfuse3.FUSEError(code)
    say(error, handler)
    return pyfuse3.FUSEError(errno.EIO)
