"""The command as a person types it: help, versions, mistakes, and what becomes of errors."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest

from icloudfs import __version__, cli, logs
from icloudfs.cli import COMMANDS, icloudfs, main
from icloudfs.errors import ConfigError, WrongCode
from tests.scratch import ICLOUDFS, Scratch


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """Run a command that ends with an exception; its exit code."""

    def run(error: BaseException) -> int:
        def fail(**_: Any) -> NoReturn:
            raise error

        monkeypatch.setattr(icloudfs, "main", fail)
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return end.value.code

    return run


def test_an_error_is_a_sentence_and_a_hint(ending: Any, capsys: Any) -> None:
    assert ending(WrongCode("Apple does not accept the code.")) == 4

    assert capsys.readouterr().err.splitlines() == [
        "icloudfs: Apple does not accept the code.",
        f"  {WrongCode.hint}",
    ]


def test_an_error_without_a_hint_is_a_sentence(ending: Any, capsys: Any) -> None:
    assert ending(ConfigError("No.")) == 10
    assert capsys.readouterr().err == "icloudfs: No.\n"


def test_a_bug_is_named_and_no_traceback_shown(ending: Any, capsys: Any) -> None:
    bug = ExceptionGroup("tasks", [ExceptionGroup("more", [ZeroDivisionError("by zero")])])

    assert ending(bug) == 1

    said, hint = capsys.readouterr().err.splitlines()
    assert said == "icloudfs: something unforeseen happened: ZeroDivisionError: by zero"
    assert hint == "  Please report it, with what --log-level debug prints."


def test_a_bug_is_written_to_the_log_file_with_all_that_is_known(
    ending: Any, tmp_path: Path
) -> None:
    logs.configure("info", tmp_path / "log")

    ending(ZeroDivisionError("by zero"))

    assert "Traceback" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.exceptions.Abort()])
def test_ctrl_c_is_no_error(ending: Any, capsys: Any, error: BaseException) -> None:
    assert ending(error) == 130
    assert capsys.readouterr().err == ""


def test_version(scratch: Scratch) -> None:
    assert scratch.run(ICLOUDFS, "--version").stdout == f"icloudfs, version {__version__}\n"
    assert scratch.run(sys.executable, "-m", "icloudfs", "--version").stdout.endswith(
        f"{__version__}\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(scratch: Scratch, command: str) -> None:
    shown = scratch.run(ICLOUDFS, command, "-h").stdout

    assert shown.startswith(f"Usage: icloudfs {command}")
    # Every option says what it is for.
    assert "  --log-level" in shown or command in (
        "unmount",
        "desktop",
        "install-units",
        "simulator",
        "demo",
        "control",
    )
    summary = next(line for line in shown.splitlines()[1:] if line.strip())
    assert summary.strip()


def test_help_lists_the_commands_whole(scratch: Scratch) -> None:
    shown = scratch.run(ICLOUDFS, "--help").stdout

    for command in COMMANDS:
        assert f"\n  {command} " in shown


def test_umount_is_unmount_too() -> None:
    context = click.Context(icloudfs)
    assert icloudfs.get_command(context, "umount") is icloudfs.get_command(context, "unmount")


def test_a_misspelt_command(scratch: Scratch) -> None:
    refused = scratch.run(ICLOUDFS, "monut", check=False)

    assert refused.returncode == 2
    assert "No such command 'monut'" in refused.stderr


def test_a_reader_that_has_seen_enough(scratch: Scratch) -> None:
    done = scratch.run("sh", "-c", f"'{ICLOUDFS}' --help | head -n 1")

    assert done.stdout.startswith("Usage: icloudfs")
    assert done.stderr == ""


def test_every_module_of_a_command_has_one() -> None:
    modules = {path.stem for path in Path(cli.__file__).parent.glob("*.py")}

    assert modules >= {command.replace("-", "_") for command in COMMANDS}
