"""``icloudfs login``: a password, a code, a session."""

from __future__ import annotations

import re
import sys
from contextlib import suppress

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
)
from icloudfs.cli.options import account_options, with_account
from icloudfs.config import Settings, make_state_directory
from icloudfs.connection import connected
from icloudfs.control import client
from icloudfs.control.messages import SignedIn
from icloudfs.control.socket import socket_path
from icloudfs.errors import IcloudfsError, LoginNeeded
from icloudfs.passwords import keep_in_keyring, kept_password
from icloudfs.progress import to_nobody
from icloudfs.state import lock

_PATIENCE = 2.0
"""Seconds for a running icloudfs to hear of it."""


@click.command("login")
@click.option("--code", metavar="DIGITS", help="The six-digit code, for use without a terminal.")
@click.option("--sms", is_flag=True, help="Have the code sent to a phone.")
@click.option("--save-password", is_flag=True, help="Keep the password in this machine's keyring.")
@account_options(log_level="error")
def command(settings: Settings, code: str | None, sms: bool, save_password: bool) -> None:
    """Sign in to iCloud.

    Without a terminal the password comes from --password-file, ICLOUDFS_PASSWORD or the keyring. A
    first run without --code has Apple send one; a second run with --code finishes.
    """
    settings = with_account(settings)
    make_state_directory(settings)  # before a code is spent on a session that cannot be kept
    password = trio.run(kept_password, settings)
    if code is not None and _waits_for_code(settings):
        trio.run(_finish, settings, code)
    else:
        password = password or _ask_password(settings.username)
        trio.run(_login, settings, password, code, sms)
    if save_password:
        keep_in_keyring(settings.username, password or _ask_password(settings.username))
    trio.run(_tell_running, settings)
    click.echo(f"Signed in as {settings.username}.")


async def _tell_running(settings: Settings) -> None:
    """A mount that waited for this goes on at once; one that does not hear it does in a while."""
    if lock.holder(settings.cookie_directory, settings.username) is None:
        return
    path = socket_path(settings.cookie_directory, settings.username)
    with trio.move_on_after(_PATIENCE), suppress(IcloudfsError):
        await client.ask(path, SignedIn(), to_nobody)


def _waits_for_code(settings: Settings) -> bool:
    """Whether an earlier run has had Apple send a code: the password is proved already."""
    store = SessionStore(settings.cookie_directory, settings.username)
    return bool(store.session.code_requested_at)


def _ask_password(username: str) -> str:
    if not sys.stdin.isatty():
        raise LoginNeeded(
            f"There is no terminal to ask for the password of {username}.",
            hint="Give it with --password-file or ICLOUDFS_PASSWORD.",
        )
    answer: str = click.prompt(f"Password for {username}", hide_input=True)
    return answer


async def _login(settings: Settings, password: str, code: str | None, sms: bool) -> None:
    async with connected(settings) as icloud:
        if code is None and sys.stdin.isatty():
            await icloud.login(password, _Person(prefer_phone=sms))
        elif code is not None:
            await icloud.login(password, _Given(code))
        else:
            await _begin(icloud, password, sms)


async def _finish(settings: Settings, code: str) -> None:
    """The second half."""
    async with connected(settings) as icloud:
        await icloud.finish_login(_code_for(icloud, code))


def _code_for(icloud: ICloud, code: str) -> DeviceCode | PhoneCode:
    """The code of a sign-in that was begun earlier: where it was sent is in the session."""
    phone = icloud.store.session.code_phone
    return PhoneCode(code, Phone(phone, "")) if phone else DeviceCode(code)


async def _begin(icloud: ICloud, password: str, sms: bool) -> None:
    """The first half, for somebody who has the code only later."""
    challenge = await icloud.begin_login(password)
    if challenge is None:
        return
    where = "your devices"
    if challenge.phones and (sms or not challenge.has_devices):
        await icloud.send_code_to_phone(challenge.phones[0])
        where = challenge.phones[0].number
    raise LoginNeeded(
        f"Apple has sent a code to {where}.",
        hint="Finish with: icloudfs login --code 123456 (the code you got).",
    )


class _Given:
    """The code that was given on the command line; a wrong one is not tried twice."""

    def __init__(self, code: str) -> None:
        self._code = code

    async def code(self, challenge: Challenge) -> CodeAnswer:
        if challenge.sent_to is not None:
            return PhoneCode(self._code, challenge.sent_to)
        return DeviceCode(self._code)


_SMS, _AGAIN = "sms", "again"


def _ask_code(challenge: Challenge) -> str:
    """Six digits or one of the two words. A slip of the fingers costs none of Apple's few tries."""
    words = [_SMS, _AGAIN] if challenge.phones else [_AGAIN]
    where = f"sent to {challenge.sent_to.number}" if challenge.sent_to else "shown on your devices"
    told = {_SMS: "'sms' to get a text", _AGAIN: "'again' for a new one"}
    question = f"Code {where} ({', '.join(told[word] for word in words)})"
    while True:
        answer = re.sub(r"[\s-]", "", click.prompt(question, type=str)).lower()
        if answer in words or re.fullmatch(r"[0-9]{6}", answer):
            return answer
        click.echo("A code has six digits.")


class _Person:
    """Somebody at a terminal."""

    def __init__(self, *, prefer_phone: bool) -> None:
        self._prefer_phone = prefer_phone

    async def code(self, challenge: Challenge) -> CodeAnswer:
        if challenge.wrong:
            left = (
                "1 more try" if challenge.tries_left == 1 else f"{challenge.tries_left} more tries"
            )
            click.echo(f"That code was wrong. {left}.")
        elif self._prefer_phone and challenge.phones and challenge.sent_to is None:
            self._prefer_phone = False
            return AskPhone(self._choose(challenge))
        answer = _ask_code(challenge)
        if answer == _AGAIN:
            return AskDevices() if challenge.sent_to is None else AskPhone(challenge.sent_to)
        if answer == _SMS:
            return AskPhone(self._choose(challenge))
        return PhoneCode(answer, challenge.sent_to) if challenge.sent_to else DeviceCode(answer)

    def _choose(self, challenge: Challenge) -> Phone:
        if len(challenge.phones) == 1:
            return challenge.phones[0]
        for number, phone in enumerate(challenge.phones, start=1):
            click.echo(f"  {number}  {phone.number}")
        chosen = click.prompt("Which phone", type=click.IntRange(1, len(challenge.phones)))
        return challenge.phones[chosen - 1]
