"""What goes wrong is one line and a hint on standard error, and an exit code of its own."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from icloudfs import errors
from icloudfs.errors import IcloudfsError
from tests.whole.library import Library

NOBODY_LISTENS = "http://127.0.0.1:9"
USAGE = 2
"""What click says of a command line that is wrong."""


@dataclass
class Case:
    """A command, what is wrong with the world, and what is said about it."""

    command: tuple[str, ...]
    says: str
    error: type[IcloudfsError]
    environment: dict[str, str] = field(default_factory=dict)
    before: Callable[[Library], None] = lambda library: None
    hint: str = ""


def _config(text: str) -> Callable[[Library], None]:
    """A config file in the place where it is looked for."""

    def write(library: Library) -> None:
        folder = library.scratch.folder / ".config" / "icloudfs"
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(text)

    return write


def _switch(name: str) -> Callable[[Library], None]:
    return lambda library: library.icloud.control.switch(**{name: True})


def _password_file(mode: int, text: str = "secret\n") -> Callable[[Library], None]:
    def write(library: Library) -> None:
        path = library.mount_point.with_name("password")
        path.write_text(text)
        path.chmod(mode)

    return write


def _occupy(library: Library) -> None:
    (library.mount_point / "diary").write_text("")


def _make_a_file(library: Library) -> None:
    library.log.write_text("")


def _state_of(text: bytes) -> Callable[[Library], None]:
    def write(library: Library) -> None:
        library.state.mkdir(exist_ok=True)
        (library.state / "alice@example.com.db").write_bytes(text)

    return write


LOGIN = ("login", "--code", "123456")
PASSWORD_FILE = (*LOGIN, "--password-file", "password")

STRANGERS: dict[str, Case] = {
    "wrong password": Case(
        LOGIN,
        "Apple does not accept the Apple ID or its password.",
        errors.WrongPassword,
        {"ICLOUDFS_PASSWORD": "wrong"},
        hint="Check the Apple ID",
    ),
    "wrong account": Case(
        LOGIN,
        r"Apple does not know the Apple ID bob@example\.com, or takes no sign-ins for now .*",
        errors.Throttled,
        {"ICLOUDFS_USERNAME": "bob@example.com"},
        hint="Check the Apple ID first",
    ),
    "wrong code": Case(
        ("login", "--code", "000000"), "Apple does not accept the code.", errors.WrongCode
    ),
    "no code at all": Case(("login", "--code", "abc"), "A code has 6 digits.", errors.WrongCode),
    "no network": Case(
        LOGIN,
        "There is no connection to 127.0.0.1.",
        errors.Offline,
        {"ICLOUDFS_ENDPOINT": NOBODY_LISTENS},
        hint="Check the network",
    ),
    "unknown region": Case(
        LOGIN,
        "Bad value for 'region' in the environment: invalid enum value 'mars'.",
        errors.ConfigError,
        {"ICLOUDFS_REGION": "mars"},
    ),
    "other region": Case(
        LOGIN,
        "This account belongs to iCloud.com.cn.",
        errors.WrongRegion,
        before=_switch("wrong_region"),
        hint="Use --region china.",
    ),
    "locked account": Case(
        LOGIN, r".*locked.*", errors.AccountLocked, before=_switch("account_locked")
    ),
    "security key": Case(
        LOGIN, r".*security key.*", errors.NotSupported, before=_switch("security_key")
    ),
    "nobody signed in, sync": Case(
        ("sync",), "Nobody is signed in.", errors.LoginNeeded, {"ICLOUDFS_PASSWORD": ""}
    ),
    "nobody signed in, mount": Case(
        ("mount", "photos"),
        "Nobody is signed in as alice@example.com.",
        errors.LoginNeeded,
        hint="Run 'icloudfs login'.",
    ),
    "no terminal for the password": Case(
        LOGIN,
        "There is no terminal to ask for the password of alice@example.com.",
        errors.LoginNeeded,
        {"ICLOUDFS_PASSWORD": ""},
    ),
    "no account": Case(
        ("sync",),
        "No account is named, and none is signed in.",
        errors.ConfigError,
        {"ICLOUDFS_USERNAME": ""},
        hint="Sign in first: 'icloudfs login -u APPLE_ID'.",
    ),
    "unknown key": Case(
        ("sync",),
        r"Unknown key 'cache_limt' in .*/config\.toml\.",
        errors.ConfigError,
        before=_config('cache_limt = "1G"\n'),
        hint="Is 'cache_limit' meant?",
    ),
    "no TOML": Case(
        ("sync",),
        r"The config file .*/config\.toml cannot be read: .*line 1.*",
        errors.ConfigError,
        before=_config("cache_limit = \n"),
    ),
    "bad value in the file": Case(
        ("sync",),
        r"Bad value for 'interval' in .*/config\.toml: expected 'float', got 'array'\.",
        errors.ConfigError,
        before=_config("interval = []\n"),
    ),
    "bad size": Case(
        ("sync",),
        "Bad value in the environment: 'much' is no size; write for example 500M or 10G.",
        errors.ConfigError,
        {"ICLOUDFS_CACHE_LIMIT": "much"},
    ),
    "no such config file": Case(
        ("sync", "--config", "nowhere.toml"),
        "The config file nowhere.toml does not exist.",
        errors.ConfigError,
    ),
    "password file of everybody": Case(
        PASSWORD_FILE,
        "The password file password can be read by others.",
        errors.ConfigError,
        before=_password_file(0o644),
        hint="chmod 600 password",
    ),
    "empty password file": Case(
        PASSWORD_FILE,
        "The first line of the password file password is empty.",
        errors.ConfigError,
        before=_password_file(0o600, "\n"),
    ),
    "no password file": Case(
        PASSWORD_FILE,
        "The password file password cannot be read: No such file or directory.",
        errors.ConfigError,
    ),
    "log file that cannot be": Case(
        ("sync", "--log-file", "/proc/log"),
        "The log file /proc/log cannot be written: No such file or directory.",
        errors.ConfigError,
    ),
    "state directory that cannot be": Case(
        ("sync",),
        r"The state directory /proc/state cannot be used: .*",
        errors.ConfigError,
        {"ICLOUDFS_COOKIE_DIRECTORY": "/proc/state"},
        hint="--cookie-directory",
    ),
    "no database of ours": Case(
        ("sync",), r".*damaged.*", errors.StateDamaged, before=_state_of(b"no database " * 1000)
    ),
    "unmount of nothing": Case(
        ("unmount", "photos"),
        r"No iCloud library is mounted on .*/photos\.",
        errors.MountPointError,
    ),
    "unmount of somebody else's": Case(
        ("unmount", "/proc"),
        r"No iCloud library is mounted on /proc \(proc is\)\.",
        errors.MountPointError,
    ),
    "unmount of what is not there": Case(
        ("unmount", "nowhere"), r"No iCloud library .*/nowhere\.", errors.MountPointError
    ),
}

MEMBERS: dict[str, Case] = {
    "mount point is a file": Case(
        ("mount", "daemon.log"),
        r".*/daemon\.log is not a folder\.",
        errors.MountPointError,
        before=_make_a_file,
    ),
    "mount point is not empty": Case(
        ("mount", "photos"),
        r".*/photos is not empty; what is in it would be hidden\.",
        errors.MountPointError,
        before=_occupy,
    ),
    "mount point is missing": Case(
        ("mount", "nowhere"),
        r"There is no folder .*/nowhere\.",
        errors.MountPointError,
        hint="mkdir -p",
    ),
    "cache directory that cannot be": Case(
        ("mount", "photos"),
        r"The cache directory /proc/cache/alice@example\.com cannot be used: .*",
        errors.CacheUnusable,
        {"ICLOUDFS_CACHE_DIR": "/proc/cache"},
        hint="--cache-dir",
    ),
}


def _is_told(library: Library, case: Case) -> None:
    case.before(library)

    done = library.icloudfs(
        *case.command,
        check=False,
        environment=case.environment,
        cwd=library.mount_point.parent,
    )

    assert done.returncode == case.error.exit_code, done.stderr
    said, *hints = done.stderr.splitlines()
    assert re.fullmatch(f"icloudfs: (?:{case.says})", said) or said == f"icloudfs: {case.says}"
    assert len(hints) <= 1 and case.hint in "".join(hints), hints
    assert done.stdout == ""


@pytest.mark.parametrize("case", STRANGERS.values(), ids=STRANGERS.keys())
def test_before_anybody_signed_in(stranger: Library, case: Case) -> None:
    _is_told(stranger, case)


@pytest.mark.parametrize("case", MEMBERS.values(), ids=MEMBERS.keys())
def test_with_a_library(library: Library, case: Case) -> None:
    _is_told(library, case)
    assert not library.is_mounted
    assert library.scratch.processes() == {}


@pytest.mark.parametrize(
    "arguments",
    [("--region", "mars"), ("--nonsense",), ("--views", "Nonsense"), ("--interval", "often")],
    ids=" ".join,
)
def test_a_wrong_command_line(stranger: Library, arguments: tuple[str, ...]) -> None:
    done = stranger.icloudfs("mount", "photos", *arguments, check=False)

    assert done.returncode == USAGE
    assert done.stderr.startswith("Usage: icloudfs mount ")
    assert "Traceback" not in done.stderr


def test_a_second_daemon_is_told_of_the_first(library: Library) -> None:
    library.mount()
    elsewhere = library.mount_point.with_name("elsewhere")
    elsewhere.mkdir()

    for command in (("mount", elsewhere), ("reset-state", "--yes")):
        refused = library.icloudfs(*command, check=False)
        assert refused.returncode == errors.AlreadyRunning.exit_code
        assert refused.stderr.splitlines() == [
            "icloudfs: icloudfs is already running for alice@example.com"
            f" (mounted on {library.mount_point}, process {library.daemon}).",
            f"  Use that one, or end it first: icloudfs unmount {library.mount_point}",
        ]


def test_a_state_is_deleted_by_a_yes(library: Library) -> None:
    database = library.state / "alice@example.com.db"
    for answer, code in (("", errors.ConfigError.exit_code), ("y\n", 0)):
        assert database.exists()
        done = library.icloudfs("reset-state", check=False, stdin=None, input=answer)
        assert done.returncode == code
        assert code == 0 or "  Add --yes to do it.\n" in done.stderr
    assert not database.exists()


def test_a_database_of_a_newer_version_is_left_untouched(library: Library) -> None:
    database = library.state / "alice@example.com.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    before = hashlib.sha256(database.read_bytes()).digest(), database.stat().st_mtime_ns

    for command in ("sync",), ("mount", library.mount_point), ("status",):
        refused = library.icloudfs(*command, check=False)
        assert refused.returncode == errors.StateTooNew.exit_code
        said, hint = refused.stderr.splitlines()
        assert "version 9999" in said
        assert hint == "  Upgrade icloudfs, or choose another --cookie-directory."

    assert before == (hashlib.sha256(database.read_bytes()).digest(), database.stat().st_mtime_ns)


@pytest.fixture
def read_only(library: Library) -> Iterator[Path]:
    """A folder on a disk that takes no writes."""
    folder = library.scratch.folder / "read-only"
    folder.mkdir()
    library.scratch.run("mount", "-t", "tmpfs", "-o", "ro", "none", folder)
    yield folder
    library.scratch.run("umount", folder)


def test_a_cache_on_a_read_only_disk(library: Library, read_only: Path) -> None:
    refused = library.icloudfs(
        "mount", library.mount_point, "--cache-dir", read_only / "cache", check=False
    )

    assert refused.returncode == errors.CacheUnusable.exit_code
    assert refused.stderr.splitlines()[0].endswith("cannot be used: Read-only file system.")
    assert not library.is_mounted


def test_a_state_directory_on_a_read_only_disk(library: Library, read_only: Path) -> None:
    for command in ("sync",), ("mount", library.mount_point), LOGIN:
        refused = library.icloudfs(
            *command, check=False, environment={"ICLOUDFS_COOKIE_DIRECTORY": str(read_only)}
        )
        assert refused.returncode == errors.ConfigError.exit_code, refused.stderr
        assert "--cookie-directory" in refused.stderr
        assert len(refused.stderr.splitlines()) == 2


def test_two_accounts_and_none_named(library: Library) -> None:
    (library.state / "bob@example.com.session").write_text("{}")

    refused = library.icloudfs("status", check=False, environment={"ICLOUDFS_USERNAME": ""})

    assert refused.returncode == errors.ConfigError.exit_code
    assert refused.stderr.startswith(
        "icloudfs: Which account? Known here: alice@example.com, bob@example.com.\n"
    )


def test_a_port_that_is_taken(stranger: Library) -> None:
    port = stranger.icloud.url.rsplit(":", 1)[1]

    refused = stranger.icloudfs("simulator", "--assets", "1", "--port", port, check=False)

    assert refused.returncode == errors.ConfigError.exit_code
    assert refused.stderr.startswith("icloudfs: The local iCloud cannot start: ")
    assert len(refused.stderr.splitlines()) == 1
