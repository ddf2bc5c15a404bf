from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from icloudfs.apple import course
from icloudfs.apple.course import Course, Given


def pages_until_trouble(course: Course, pages: Iterator[tuple[str, list[str]]]) -> tuple[int, str]:
    for number, (place, names) in enumerate(pages, 1):
        if trouble := course.trouble(place, names):
            return number, trouble
    raise AssertionError("it went on for ever")


def test_a_log_may_have_runs_of_empty_pages_and_say_the_same_again() -> None:
    following = Course(patience=50)
    for number in range(2000):
        names = [f"record {number}"] if number % 100 == 0 else []
        assert following.trouble(f"place {number}", names) == ""
        assert following.trouble(f"place {number}", []) == ""


@pytest.mark.parametrize("patience", [0, 50])
def test_the_same_place_again_and_again(patience: int) -> None:
    following = Course("here", patience=patience)
    pages = ((("here"), ["a"]) for _ in itertools.count())
    assert pages_until_trouble(following, pages) == (patience + 1, course.NO_PROGRESS)


@pytest.mark.parametrize("length", [2, 3, 100])
def test_a_circle_ends_when_it_closes(length: int) -> None:
    pages = ((f"place {n % length}", [f"record {n}"]) for n in itertools.count())
    assert pages_until_trouble(Course(patience=50), pages) == (length + 1, course.CIRCLE)


@pytest.mark.parametrize("names", [[], ["a", "b"]])
def test_on_and_on_with_nothing_new(names: list[str]) -> None:
    pages = ((f"place {n}", names) for n in itertools.count())
    number, trouble = pages_until_trouble(Course(), pages)
    assert trouble == course.NOTHING_COMES
    assert number <= course.MOST_EMPTY + 2


def test_on_and_on_with_something_new() -> None:
    pages = ((f"place {n}", [f"record {n}"]) for n in itertools.count())
    assert pages_until_trouble(Course(most=500), pages) == (501, course.NO_END)


def test_what_was_given_is_known_in_little_room() -> None:
    given = Given()
    for page in range(5000):
        assert given.has_news([f"record {page} {n}" for n in range(200)]), page
    assert not given.has_news([f"record 7 {n}" for n in range(200)])
    assert not given.has_news([])
