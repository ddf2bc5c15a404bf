"""``icloudfs login``: a password, a code, a session."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from typing import NamedTuple

import click
import trio

from icloudfs.apple import (
    AskDevices,
    AskPhone,
    Challenge,
    CodeAnswer,
    DeviceCode,
    ICloud,
    Phone,
    PhoneCode,
    SessionStore,
    SignInOver,
)
from icloudfs.cli.options import account_options, with_account
from icloudfs.config import Settings, make_state_directory
from icloudfs.connection import connected
from icloudfs.control import client
from icloudfs.control.messages import SignedIn
from icloudfs.control.socket import socket_path
from icloudfs.errors import IcloudfsError, LoginNeeded, WrongClock
from icloudfs.passwords import as_text, keep_in_keyring, kept_password
from icloudfs.progress import to_nobody
from icloudfs.state import lock

_PATIENCE = 2.0
"""Seconds for a running icloudfs to hear of it."""


@click.command("login")
@click.option("--code", metavar="DIGITS", help="The six-digit code, for use without a terminal.")
@click.option("--sms", is_flag=True, help="Have the code sent to a phone.")
@click.option("--call", is_flag=True, help="Have the code spoken to a phone.")
@click.option(
    "--renew-trust",
    is_flag=True,
    help="Have Apple ask for a code although it still trusts this computer: its trust begins anew.",
)
@click.option("--save-password", is_flag=True, help="Keep the password in this machine's keyring.")
@account_options(log_level="error")
def command(
    settings: Settings,
    code: str | None,
    sms: bool,
    call: bool,
    renew_trust: bool,
    save_password: bool,
) -> None:
    """Sign in to iCloud.

    Without a terminal the password comes from --password-file, ICLOUDFS_PASSWORD or the keyring. A
    first run without --code has Apple send one; a second run with --code finishes. Some accounts have
    to prove the password in the second run as well.
    """
    settings = with_account(settings)
    make_state_directory(settings)  # before a code is spent on a session that cannot be kept
    password = _Password(settings)
    if not _is_finished(settings, code, password):
        wish = _Wish(sms or call, voice=call, renew_trust=renew_trust)
        trio.run(_login, settings, password.needed(), code, wish)
    if save_password:
        keep_in_keyring(settings.username, password.needed())
    trio.run(_tell_running, settings)
    click.echo(f"Signed in as {settings.username}.")


async def _tell_running(settings: Settings) -> None:
    """A mount that waited for this goes on at once; one that does not hear it does in a while."""
    if lock.holder(settings.cookie_directory, settings.username) is None:
        return
    path = socket_path(settings.cookie_directory, settings.username)
    with trio.move_on_after(_PATIENCE), suppress(IcloudfsError):
        await client.ask(path, SignedIn(), to_nobody)


class _Password:
    """The password: where it is kept, else from the person at the terminal, who is asked once."""

    def __init__(self, settings: Settings) -> None:
        self._username = settings.username
        self._known = trio.run(kept_password, settings)

    def needed(self) -> str:
        """Raises LoginNeeded if it is nowhere, and there is no terminal to ask for it."""
        if self._known is None and not sys.stdin.isatty():
            raise LoginNeeded(
                f"There is no terminal to ask for the password of {self._username}.",
                hint="Give it with --password-file or ICLOUDFS_PASSWORD.",
            )
        if self._known is None:
            typed = str(click.prompt(f"Password for {self._username}", hide_input=True))
            self._known = as_text(typed, "What was typed")
        return self._known

    async def once_more(self) -> str | None:
        """For an account that wants it beside the code; None if there is no way to have it."""
        if self._known is None and not sys.stdin.isatty():
            return None
        if self._known is None:
            click.echo("Apple wants the password once more, beside the code.")
        return self.needed()


class _Wish(NamedTuple):
    """How the person wants to have the code, without having been asked."""

    by_phone: bool
    voice: bool
    renew_trust: bool


async def _login(settings: Settings, password: str, code: str | None, wish: _Wish) -> None:
    async with connected(settings) as icloud:
        if code is None and sys.stdin.isatty():
            await icloud.login(password, _Person(wish), renew_trust=wish.renew_trust)
        elif code is not None:
            await icloud.login(password, _Given(code), renew_trust=wish.renew_trust)
        else:
            await _begin(icloud, password, wish)
        _say_about_clock(icloud)


def _is_finished(settings: Settings, code: str | None, password: _Password) -> bool:
    """Do the second half, where an earlier run has done the first one: it has proved the password and
    had Apple send a code, or the code was taken already, and something after it failed."""
    pending = SessionStore(settings.cookie_directory, settings.username).session.pending
    if pending is None or (code is None and not pending.code_accepted):
        return False
    try:
        trio.run(_finish, settings, code, password)
    except SignInOver:
        if code is not None:
            raise
        return False
    return True


async def _finish(settings: Settings, code: str | None, password: _Password) -> None:
    async with connected(settings) as icloud:
        given = None if code is None else _code_for(icloud, code)
        await icloud.finish_login(given, password.once_more)
        _say_about_clock(icloud)


def _say_about_clock(icloud: ICloud) -> None:
    if trouble := icloud.clock_trouble:
        click.echo(f"{trouble} {WrongClock.hint}", err=True)


def _code_for(icloud: ICloud, code: str) -> DeviceCode | PhoneCode:
    """The code of a sign-in that was begun earlier: where it was sent is in the session."""
    pending = icloud.store.session.pending
    phone = pending.code_phone if pending is not None else 0
    return PhoneCode(code, Phone(phone, "")) if phone else DeviceCode(code)


async def _begin(icloud: ICloud, password: str, wish: _Wish) -> None:
    """The first half, for somebody who has the code only later."""
    challenge = await icloud.begin_login(password, renew_trust=wish.renew_trust)
    if challenge is None:
        return
    where = "your devices"
    if challenge.phones and (wish.by_phone or not challenge.has_devices):
        await icloud.send_code_to_phone(challenge.phones[0], voice=wish.voice)
        where = challenge.phones[0].number
    hint = "Finish with: icloudfs login --code 123456 (the code you got)."
    pending = icloud.store.session.pending
    if pending is not None and pending.escrow_owed:
        hint += " It asks for the password once more."
    raise LoginNeeded(f"Apple has sent a code to {where}.", hint=hint)


class _Given:
    """The code that was given on the command line; a wrong one is not tried twice."""

    def __init__(self, code: str) -> None:
        self._code = code

    async def code(self, challenge: Challenge) -> CodeAnswer:
        if challenge.sent_to is not None:
            return PhoneCode(self._code, challenge.sent_to)
        return DeviceCode(self._code)


_SMS, _CALL, _AGAIN = "sms", "call", "again"

_NO_CODE = (
    "No code? On an iPhone: Settings, your name, Sign-In & Security, Get Verification Code; that works "
    "without a network, too."
)
_OR_BY_PHONE = "Or enter 'sms' for a text, 'call' for a call."


def _ask_code(challenge: Challenge) -> str:
    """Six digits or one of the words. A slip of the fingers costs none of Apple's few tries."""
    words = [_SMS, _CALL, _AGAIN] if challenge.phones else [_AGAIN]
    told = {_SMS: "'sms' to get a text", _AGAIN: "'again' for a new one"}
    offered = ", ".join(told[word] for word in words if word in told)
    question = f"Code {_where(challenge)} ({offered})"
    click.echo(f"{_NO_CODE} {_OR_BY_PHONE}" if challenge.phones else _NO_CODE)
    while True:
        answer = re.sub(r"[\s-]", "", click.prompt(question, type=str)).lower()
        if answer in words or re.fullmatch(r"[0-9]{6}", answer):
            return answer
        click.echo("A code has six digits.")


def _where(challenge: Challenge) -> str:
    if challenge.sent_to is None:
        return "shown on your devices"
    return f"{'spoken' if challenge.by_call else 'sent'} to {challenge.sent_to.number}"


class _Person:
    """A person at a terminal."""

    def __init__(self, wish: _Wish) -> None:
        self._wish: _Wish | None = wish if wish.by_phone else None

    async def code(self, challenge: Challenge) -> CodeAnswer:
        if challenge.wrong:
            left = (
                "1 more try" if challenge.tries_left == 1 else f"{challenge.tries_left} more tries"
            )
            click.echo(f"That code was wrong. {left}.")
        elif self._wish and challenge.phones and challenge.sent_to is None:
            wish, self._wish = self._wish, None
            return AskPhone(self._choose(challenge), voice=wish.voice)
        answer = _ask_code(challenge)
        if answer == _AGAIN:
            if challenge.sent_to is None:
                return AskDevices()
            return AskPhone(challenge.sent_to, voice=challenge.by_call)
        if answer in (_SMS, _CALL):
            return AskPhone(self._choose(challenge), voice=answer == _CALL)
        return PhoneCode(answer, challenge.sent_to) if challenge.sent_to else DeviceCode(answer)

    def _choose(self, challenge: Challenge) -> Phone:
        if len(challenge.phones) == 1:
            return challenge.phones[0]
        for number, phone in enumerate(challenge.phones, start=1):
            click.echo(f"  {number}  {phone.number}")
        chosen = click.prompt("Which phone", type=click.IntRange(1, len(challenge.phones)))
        return challenge.phones[chosen - 1]
