"""The command line: one module a command. Parse, call, print; nothing that another command could want."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import click

from icloudfs import __version__, logs, pathtext
from icloudfs.cli import mount_helper
from icloudfs.errors import IcloudfsError, foremost

COMMANDS = (
    "login",
    "logout",
    "mount",
    "unmount",
    "sync",
    "status",
    "list",
    "retry-failed",
    "reset-state",
    "import-existing",
    "verify",
    "cache",
    "desktop",
    "install-units",
    "doctor",
    "simulator",
    "demo",
)

ALIASES = {"umount": "unmount"}


class _Commands(click.Group):
    """Imports a command's module when it is asked for: ``icloudfs status`` needs no FUSE."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        name = ALIASES.get(name, name)
        if name not in COMMANDS:
            return None
        command = importlib.import_module(f"icloudfs.cli.{name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """The reader of what we print may have seen enough, as in ``| head``: that is no failure."""
        try:
            done = super().invoke(ctx)
            sys.stdout.flush()
            return done
        except BrokenPipeError:
            # What is still to be flushed when Python ends must not meet the closed pipe again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="icloudfs")
def icloudfs() -> None:
    """An iCloud Photos library, mounted as a folder."""


def main() -> None:
    """Run a command, or what mount(8) asks for."""
    pathtext.print_as_they_are()
    if mount_helper.is_asked(sys.argv):
        code = _code_of(lambda: mount_helper.run(sys.argv))
        sys.exit(mount_helper.FAILED if code else 0)
    sys.exit(_code_of(lambda: icloudfs.main(standalone_mode=False)))


def _code_of(do: Callable[[], object]) -> int:
    """The exit code of doing it. Errors of our own become one sentence and a hint."""
    try:
        do()
    except click.exceptions.Abort:
        return 128 + signal.SIGINT
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except IcloudfsError as error:
        _complain(str(error), error.hint)
        return error.exit_code
    except Exception as error:
        logs.unforeseen(error)
        what = foremost(error)
        _complain(
            f"something unforeseen happened: {type(what).__name__}: {what}".rstrip(": "),
            "Please report it, with what --log-level debug prints.",
        )
        return 1
    return 0


def _complain(sentence: str, hint: str) -> None:
    mark = logs.mark_of_error()
    click.echo(f"{mark}icloudfs: {sentence}", err=True)
    if hint:
        click.echo(f"{mark}  {hint}", err=True)
