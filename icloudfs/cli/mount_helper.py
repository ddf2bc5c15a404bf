"""``mount -t icloudfs`` and lines in ``/etc/fstab``: what mount(8) runs, in its own words.

    mount -t icloudfs       runs  mount.icloudfs me@example.com FOLDER -o OPTIONS
    mount -t fuse.icloudfs  runs  mount.fuse3, which runs  icloudfs me@example.com FOLDER -o OPTIONS

The options are those of ``icloudfs mount``, without their dashes, and ``run_as=USER``; what is meant for
mount(8), systemd or the kernel is passed over; and what nobody knows is an error.
"""

from __future__ import annotations

import difflib
import os
import pwd
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import click
import msgspec

from icloudfs.errors import ConfigError

FAILED = 32
"""The exit code that mount(8) takes for "could not be mounted"."""

_OF_OTHERS = re.findall(
    r"\S+",
    """
    defaults auto noauto user nouser users owner group nofail _netdev rw ro dev nodev suid nosuid exec noexec
    sync async dirsync atime noatime diratime nodiratime relatime norelatime strictatime nostrictatime
    lazytime nolazytime iversion noiversion mand nomand silent loud nosymfollow default_permissions
    """,
)
"""Read-only, nosuid and nodev it is in any case, and who may do what is judged by us."""

_OF_OTHERS_BY_FORM = re.compile(r"[xX]-.*|(comment|uhelper|helper)=.*|uhelper|_rnetdev")

_OPTION = re.compile(r'(?:[^,"]|"[^"]*")+')
"""One of several: a comma within quotes, as in labels of SELinux's, does not end it."""

_LABEL = re.compile("(|fs|def|root)context")

_HOME_OF_ROOT = "/root"
_USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Line(msgspec.Struct):
    """What mount(8) asks, as it stands in a line of ``/etc/fstab``."""

    source: str = ""
    folder: str = ""
    options: list[str] = []
    sloppy: bool = False
    """-s: options that nobody knows are no error."""
    fake: bool = False
    """-f: everything but the mount itself."""
    namespace: str = ""
    """-N: of which mount namespace."""


def is_asked(command: Sequence[str]) -> bool:
    """Whether ``command``, with the name of the program, is mount(8)'s or mount.fuse3's."""
    from icloudfs.cli import ALIASES, COMMANDS

    if Path(command[0]).name.startswith("mount."):
        return True
    source, folder, then = [*command[1:], "", "", ""][:3]
    if source in COMMANDS or source in ALIASES or not folder.startswith("/"):
        return False
    return "@" in source or then == "-o"


def run(command: Sequence[str]) -> None:
    """Mount; returns when everything is listed, with the option ``no_wait`` when the folder can be used.
    Raises ConfigError and what ``icloudfs mount`` raises."""
    line = parse(command[1:])
    if line.namespace:
        _enter(line.namespace, _again(line, line.options))
    user, options = _user_of(line.options)
    if user:
        _become(user, _again(line, options))
    _settle()  # first: where state and cache lie is found out when the settings are imported
    words = [*_waiting(), *_account(line.source), *_flags(options, line.sloppy)]
    if not line.fake:
        _mount([*words, "--", line.folder])


def parse(words: Sequence[str]) -> Line:
    """mount(8)'s ``SOURCE FOLDER [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]``. Raises ConfigError."""
    line, left, places = Line(), list(words), []
    while left:
        word = left.pop(0)
        if not word.startswith("-"):
            places.append(word)
        elif word[:2] in ("-o", "-t", "-N"):
            value = word[2:] or (left.pop(0) if left else "")
            if word[:2] == "-o":
                line.options += _OPTION.findall(value)
            elif word[:2] == "-N":
                line.namespace = value
        elif re.fullmatch("-[sfnvrw]+", word):
            line.sloppy |= "s" in word
            line.fake |= "f" in word
        else:
            raise ConfigError(f"'{word}' is no flag of mount(8).", hint=_USAGE)
    if len(places) != 2:
        raise ConfigError("An account and a folder are needed.", hint=_USAGE)
    line.source, line.folder = places
    return line


def _waiting() -> Iterator[str]:
    """What is ordered after a mount is to find a complete folder. Under an automount, a process that touches
    the folder waits for as long, and so would the daemon in another process group (mount/background.py)."""
    yield "--wait"
    if not sys.stderr.isatty():
        yield "--stay-in-group"


_USAGE = "For example: mount -t icloudfs me@example.com /srv/photos -o allow_other"


def _account(source: str) -> Iterator[str]:
    """Whose library; any word without an @ stands for the one that is known anyhow."""
    account = source.removeprefix("icloudfs:")  # as it is listed in /proc/mounts
    if "@" in account:
        yield f"--username={account}"


def _flags(options: Sequence[str], sloppy: bool) -> list[str]:
    """As ``icloudfs mount`` has them. Raises ConfigError with all that it does not have."""
    from icloudfs.cli.mount import command

    known = {
        name.removeprefix("--"): option
        for option in command.params
        if isinstance(option, click.Option) and not (option.hidden or option.name == "foreground")
        for name in (*option.opts, *option.secondary_opts)
        if name.startswith("--")
    }
    flags, unknown = [], []
    for option in options:
        name, equals, value = option.partition("=")
        flag = name.replace("_", "-")
        if equals and _LABEL.fullmatch(name):
            flags.append(f"--label={option}")
            continue
        if option in _OF_OTHERS or _OF_OTHERS_BY_FORM.fullmatch(option):
            continue
        if flag not in known:
            unknown.append(name)
        elif known[flag].is_flag and equals:
            raise ConfigError(f"The mount option '{name}' takes no value.")
        elif not known[flag].is_flag and not equals:
            raise ConfigError(f"The mount option '{name}' takes a value: {name}=…")
        else:
            flags.append(f"--{flag}{equals}{value}")
    if unknown and not sloppy:
        raise _unknown(unknown, list(known))
    return flags


def _unknown(names: list[str], known: list[str]) -> ConfigError:
    meant = difflib.get_close_matches(names[0].replace("_", "-"), known, 1)
    shown = ", ".join(f"'{name}'" for name in names)
    return ConfigError(
        f"Unknown mount option{'s' if len(names) > 1 else ''} {shown}.",
        hint=f"Is '{meant[0].replace('-', '_')}' meant?" if meant else "See: icloudfs mount --help",
    )


# -- as whom, and where ------------------------------------------------------------------------------


def _user_of(options: list[str]) -> tuple[str, list[str]]:
    """Who shall run the daemon, and the other options. ``setuid=`` is how mount.fuse3 calls it, which
    takes that off itself, and keeps nothing that allows to mount."""
    named = [option for option in options if option.startswith(("run_as=", "setuid="))]
    others = [option for option in options if option not in named]
    return (named[-1].partition("=")[2] if named else ""), others


def _settle() -> None:
    """Have the environment that mount(8) and systemd do not give (facts/desktop.md §3.2). To a user who has no
    HOME mount.fuse3 gives root's."""
    os.environ.setdefault("PATH", _USUAL_PATH)
    is_strange = os.environ.get("HOME") == _HOME_OF_ROOT and os.geteuid() != 0
    if is_strange or "HOME" not in os.environ:
        with suppress(KeyError):
            os.environ["HOME"] = pwd.getpwuid(os.geteuid()).pw_dir


def _become(user: str, command: Sequence[str]) -> None:
    """Begin anew as ``user``, with the one capability that mounting takes; does not return."""
    try:
        person = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        raise ConfigError(f"There is no user '{user}', as run_as= names.") from None
    if os.geteuid() != 0:
        raise ConfigError(f"Only root can mount as {person.pw_name} (run_as=).")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    who = {"HOME": person.pw_dir, "USER": person.pw_name, "LOGNAME": person.pw_name}
    capabilities = [
        f"--{which}=-all,+sys_admin" for which in ("bounding-set", "inh-caps", "ambient-caps")
    ]
    identity = [f"--reuid={person.pw_uid}", f"--regid={person.pw_gid}", "--init-groups"]
    _exec(["setpriv", *identity, *capabilities, "--no-new-privs", "--", *command], kept | who)


def _enter(namespace: str, command: Sequence[str]) -> None:
    """Begin anew in another mount namespace; does not return."""
    path = f"/proc/{namespace}/ns/mnt" if namespace.isdigit() else namespace
    _exec(["nsenter", f"--mount={path}", "--", *command], dict(os.environ))


def _exec(command: list[str], environment: dict[str, str]) -> None:
    try:
        os.execvpe(command[0], command, {"PATH": _USUAL_PATH} | environment)
    except OSError as error:
        raise ConfigError(
            f"{command[0]} cannot be run: {error.strerror}.", hint="Install the package util-linux."
        ) from None


def _again(line: Line, options: list[str]) -> list[str]:
    """What mount(8) asks, with other options, and in this namespace."""
    flags = [flag for flag, given in (("-s", line.sloppy), ("-f", line.fake)) if given]
    words = [line.source, line.folder, "-o", ",".join(options) or "ro"]
    return [sys.executable, "-P", "-m", "icloudfs", *words, *flags]


def _mount(words: list[str]) -> None:
    from icloudfs.cli import icloudfs

    sys.argv = ["icloudfs", "mount", *words]  # what the daemon in the background is started with
    icloudfs.main(sys.argv[1:], standalone_mode=False)
