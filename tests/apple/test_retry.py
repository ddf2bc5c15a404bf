from __future__ import annotations

import time
from email.utils import formatdate

import pytest
import trio
from trio.testing import MockClock

from icloudfs.apple import retry
from icloudfs.apple.retry import Dropped, TryLater, busy
from icloudfs.errors import Offline, Throttled


class Script:
    """Raises what it was given, one after the other, then answers."""

    def __init__(self, *steps: BaseException) -> None:
        self._steps = list(steps)
        self.calls: list[float] = []

    async def __call__(self) -> str:
        self.calls.append(trio.current_time())
        if self._steps:
            raise self._steps.pop(0)
        return "answer"

    @property
    def pauses(self) -> list[float]:
        return [b - a for a, b in zip(self.calls, self.calls[1:], strict=False)]


async def run(script: Script, *, patience: float = 500.0, jitter: float = 0.0) -> str:
    return await retry.with_patience(script, patience=patience, jitter=lambda: jitter)


async def test_pauses_double_and_jitter(autojump_clock: MockClock) -> None:
    script = Script(*[busy("no") for _ in range(8)])
    assert await run(script, jitter=1.0) == "answer"
    assert script.pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    script = Script(busy("no"), busy("no"))
    await run(script, jitter=0.0)
    assert script.pauses == [0.5, 1.0]


async def test_apples_word_is_honoured_up_to_two_minutes(autojump_clock: MockClock) -> None:
    script = Script(busy("no", 7.0), busy("no", 0.5), busy("no", 3600.0))
    await run(script)
    assert script.pauses == [7.0, 0.5, 120.0]


@pytest.mark.parametrize("asked", [0.001, 0.01, 1.0])
async def test_what_is_asked_in_vain_is_asked_ever_more_seldom(
    asked: float, autojump_clock: MockClock
) -> None:
    script = Script(*[busy("no", asked) for _ in range(10_000)])
    with pytest.raises(Throttled):
        await run(script, patience=120.0)
    assert len(script.calls) < 50
    assert script.pauses[0] == max(asked, 1 / 16)


async def test_patience_ends_before_the_wait_not_after(autojump_clock: MockClock) -> None:
    script = Script(busy("no", 50.0), busy("no", 60.0))
    with pytest.raises(Throttled) as caught:
        await run(script, patience=100.0)
    assert script.pauses == [50.0]
    assert caught.value.retry_after == 60.0
    assert trio.current_time() - script.calls[0] == 50.0


async def test_the_callers_deadline_counts(autojump_clock: MockClock) -> None:
    script = Script(busy("no", 5.0))
    with trio.fail_after(3), pytest.raises(Throttled):
        await run(script)
    assert len(script.calls) == 1


async def test_the_last_word_is_the_real_cause(autojump_clock: MockClock) -> None:
    with pytest.raises(Offline):
        await run(Script(TryLater(Offline("gone"), 10.0)), patience=1.0)


async def test_a_dropped_connection_is_tried_again_once_and_at_once() -> None:
    script = Script(Dropped("x"))
    assert await run(script) == "answer"
    with pytest.raises(Dropped):
        await run(Script(Dropped("x"), Dropped("y")))


async def test_being_offline_is_not_waited_out() -> None:
    script = Script(Offline("x"))
    with pytest.raises(Offline):
        await run(script)
    assert len(script.calls) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", None),
        ("5", 5.0),
        ("1.5", 1.5),
        ("0", None),
        ("-1", None),
        ("soon", None),
        ("nan", None),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("1e12", 3600.0),
        ("inf", 3600.0),
        ("9" * 500, 3600.0),
    ],
)
def test_reading_retry_after(value: str, seconds: float | None) -> None:
    assert retry.retry_after({"Retry-After": value}) == seconds


def test_retry_after_as_a_date() -> None:
    found = retry.retry_after({"Retry-After": formatdate(time.time() + 30, usegmt=True)})
    assert found is not None
    assert 28 <= found <= 30
    assert retry.retry_after({"Retry-After": formatdate(0, usegmt=True)}) is None, "it is past"
    assert retry.retry_after({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}) == 3600.0


@pytest.mark.parametrize(
    ("told", "seconds"),
    [(3, 3.0), (0, None), (-1, None), (True, None), ("3", None), (None, None), ([], None)],
)
def test_reading_what_a_body_asks(told: object, seconds: float | None) -> None:
    assert retry.asked_pause(told) == seconds
    assert retry.asked_pause(10**400) == 3600.0
    assert retry.asked_pause(float("nan")) is None
