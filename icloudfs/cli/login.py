"""``icloudfs login``: a password, a code, a session."""

from __future__ import annotations

import sys

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
)
from icloudfs.cli.options import account_options, with_account
from icloudfs.config import Settings
from icloudfs.daemon import connected
from icloudfs.errors import LoginNeeded
from icloudfs.passwords import keep_in_keyring, kept_password


@click.command("login")
@click.option("--code", metavar="DIGITS", help="The six-digit code, for use without a terminal.")
@click.option("--sms", is_flag=True, help="Have the code sent to a phone.")
@click.option("--save-password", is_flag=True, help="Keep the password in this machine's keyring.")
@account_options(log_level="warning")
def command(settings: Settings, code: str | None, sms: bool, save_password: bool) -> None:
    """Sign in to iCloud.

    Without a terminal the password comes from --password-file, ICLOUDFS_PASSWORD or the keyring. A
    first run without --code has Apple send one; a second run with --code finishes.
    """
    settings = with_account(settings)
    password = trio.run(kept_password, settings)
    if password is None:
        password = _ask_password(settings.username)
    trio.run(_login, settings, password, code, sms)
    if save_password:
        keep_in_keyring(settings.username, password)
    click.echo(f"Signed in as {settings.username}.")


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
        elif code is not None and icloud.store.session.code_requested_at:
            await icloud.finish_login(_code_for(icloud, code))
        elif code is not None:
            await icloud.login(password, _Given(code))
        else:
            await _begin(icloud, password, sms)


def _code_for(icloud: ICloud, code: str) -> DeviceCode | PhoneCode:
    """The code of a sign-in that was begun earlier: where it was sent is in the session."""
    phone = icloud.store.session.code_phone
    return PhoneCode(code, Phone(phone, "")) if phone else DeviceCode(code)


async def _begin(icloud: ICloud, password: str, sms: bool) -> None:
    """The first half, for somebody who has the code only later."""
    challenge = await icloud.begin_login(password)
    if challenge is None:
        return
    if sms and challenge.phones:
        await icloud.send_code_to_phone(challenge.phones[0])
    raise LoginNeeded(
        "Apple has sent a code.",
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


class _Person:
    """Somebody at a terminal."""

    def __init__(self, *, prefer_phone: bool) -> None:
        self._prefer_phone = prefer_phone

    async def code(self, challenge: Challenge) -> CodeAnswer:
        if challenge.wrong:
            click.echo(f"That code was wrong. {challenge.tries_left} more tries.")
        elif self._prefer_phone and challenge.phones and challenge.sent_to is None:
            self._prefer_phone = False
            return AskPhone(self._choose(challenge))
        where = challenge.sent_to.number if challenge.sent_to else "your devices"
        answer = click.prompt(
            f"Code shown on {where} ('sms' to get a text, 'again' for a new one)", type=str
        ).strip()
        if answer == "again":
            return AskDevices() if challenge.sent_to is None else AskPhone(challenge.sent_to)
        if answer == "sms" and challenge.phones:
            return AskPhone(self._choose(challenge))
        return PhoneCode(answer, challenge.sent_to) if challenge.sent_to else DeviceCode(answer)

    def _choose(self, challenge: Challenge) -> Phone:
        if len(challenge.phones) == 1:
            return challenge.phones[0]
        for number, phone in enumerate(challenge.phones, start=1):
            click.echo(f"  {number}  {phone.number}")
        chosen = click.prompt("Which phone", type=click.IntRange(1, len(challenge.phones)))
        return challenge.phones[chosen - 1]
