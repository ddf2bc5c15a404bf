"""A word on the screen when the session ran out: once an expiry, and only where somebody can see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from icloudfs.notice import PROGRAM, SignInNotice

BUS = "DBUS_SESSION_BUS_ADDRESS"


class Screen:
    """A desktop that keeps what it was told."""

    def __init__(self, folder: Path) -> None:
        self._shown = folder / "shown"
        self._shown.touch()
        self.program = folder / PROGRAM
        self.becomes(f'#!/bin/sh\necho "$@" >> {self._shown}\n')

    def becomes(self, script: str) -> None:
        self.program.write_text(script)
        self.program.chmod(0o755)

    def notices(self) -> list[str]:
        return self._shown.read_text().splitlines()


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv(BUS, "unix:path=/nowhere")
    return Screen(tmp_path)


async def test_once_an_expiry(screen: Screen) -> None:
    notice = SignInNotice("me@example.com")

    for _ in range(3):
        await notice.session_ran_out()
    (line,) = screen.notices()
    assert "sign in again as me@example.com: run 'icloudfs login'." in line

    notice.session_is_good()
    await notice.session_ran_out()
    assert len(screen.notices()) == 2


async def test_nobody_is_told_where_there_is_no_session(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(BUS)

    await SignInNotice("me@example.com").session_ran_out()

    assert screen.notices() == []


@pytest.mark.parametrize("kind", ["missing", "broken", "failing"])
async def test_without_a_working_program_nothing_happens(screen: Screen, kind: str) -> None:
    if kind == "missing":
        screen.program.unlink()
    else:
        screen.becomes("#!/nowhere\n" if kind == "broken" else "#!/bin/sh\nexit 1\n")

    await SignInNotice("me@example.com").session_ran_out()

    assert screen.notices() == []
