"""mount(8)'s words, and what becomes of each."""

from __future__ import annotations

import os
import pwd
import sys
from typing import Any

import pytest

from icloudfs.cli import main, mount_helper
from icloudfs.cli.mount_helper import is_asked, parse
from icloudfs.errors import ConfigError

HELPER = "/sbin/mount.icloudfs"
WAITING = ["--wait", "--stay-in-group"]
"""Until everything is listed, where no terminal shows how far it is."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What ``icloudfs mount`` is asked for, instead of doing it."""
    found: list[list[str]] = []
    monkeypatch.setattr(mount_helper, "_mount", found.append)
    return found


def options(words: str, asked: list[list[str]], *flags: str) -> list[str]:
    mount_helper.run([HELPER, "me@example.com", "/mnt", *flags, "-o", words])
    (command,) = asked
    assert command[:3] == [*WAITING, "--username=me@example.com"]
    assert command[-2:] == ["--", "/mnt"]
    return command[3:-2]


@pytest.mark.parametrize(
    ("command", "is_ours"),
    [
        ([HELPER, "me@example.com", "/mnt"], True),
        (["mount.fuse.icloudfs", "icloudfs", "/mnt", "-o", "ro"], True),
        (["/usr/bin/icloudfs", "me@example.com", "/mnt", "-o", "ro"], True),
        (["/usr/bin/icloudfs", "me@example.com", "/mnt"], True),
        (["/usr/bin/icloudfs", "photos", "/mnt", "-o", "ro"], True),
        (["icloudfs", "mount", "/mnt"], False),
        (["icloudfs", "umount", "/mnt"], False),
        (["icloudfs", "monut", "/mnt"], False),
        (["icloudfs", "import-existing", "-d", "/mnt"], False),
        (["icloudfs", "status"], False),
        (["icloudfs"], False),
    ],
)
def test_who_is_asked(command: list[str], is_ours: bool) -> None:
    assert is_asked(command) == is_ours


def test_our_own_options(asked: list[list[str]]) -> None:
    words = (
        "allow_other,uid=1000,gid=100,umask=027,cache_limit=20G,no-neighbours,noxattr,views=Library"
    )
    assert options(words, asked) == [
        "--allow-other",
        "--uid=1000",
        "--gid=100",
        "--umask=027",
        "--cache-limit=20G",
        "--no-neighbours",
        "--noxattr",
        "--views=Library",
    ]


def test_labels_are_the_kernels(asked: list[list[str]]) -> None:
    words = 'context="system_u:object_r:fusefs_t:s0:c1,c2",ro,rootcontext=a:b:c_t:s0,defcontext=x'
    assert options(words, asked) == [
        '--label=context="system_u:object_r:fusefs_t:s0:c1,c2"',
        "--label=rootcontext=a:b:c_t:s0",
        "--label=defcontext=x",
    ]


def test_what_is_meant_for_others_is_passed_over(asked: list[list[str]]) -> None:
    words = (
        "defaults,ro,noauto,user,nofail,_netdev,dev,suid,noexec,noatime,comment=mine,"
        "x-systemd.automount,x-systemd.idle-timeout=5min,X-mount.mkdir,uhelper=x"
    )
    assert options(words, asked) == []


def test_what_nobody_knows_is_named(asked: list[list[str]]) -> None:
    with pytest.raises(ConfigError, match=r"'allow_others', 'fast'") as refused:
        options("allow_others,ro,fast", asked)
    assert refused.value.hint == "Is 'allow_other' meant?"
    assert options("allow_others,fast", asked, "-s") == []


@pytest.mark.parametrize(
    ("words", "complaint"), [("allow_other=yes", "no value"), ("cache_limit", "a value")]
)
def test_a_value_where_there_is_none(words: str, complaint: str, asked: list[list[str]]) -> None:
    with pytest.raises(ConfigError, match=complaint):
        options(words, asked)


def test_the_foreground_is_not_for_mount(asked: list[list[str]]) -> None:
    with pytest.raises(ConfigError, match="'foreground'"):
        options("foreground", asked)


def test_flags_of_mount() -> None:
    line = parse(["a@b.c", "/mnt", "-nvs", "-f", "-t", "fuse.icloudfs", "-N", "12", "-oro,noxattr"])
    assert (line.sloppy, line.fake, line.namespace) == (True, True, "12")
    assert line.options == ["ro", "noxattr"]
    with pytest.raises(ConfigError, match="--unheard-of"):
        parse(["a@b.c", "/mnt", "--unheard-of"])
    with pytest.raises(ConfigError, match="folder"):
        parse(["a@b.c"])


def test_nothing_is_mounted_for_show(asked: list[list[str]]) -> None:
    mount_helper.run([HELPER, "me@example.com", "/mnt", "-f"])
    assert asked == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("icloudfs:me@example.com", ["--username=me@example.com"]),
        ("photos", []),
    ],
)
def test_whose_library(source: str, words: list[str], asked: list[list[str]]) -> None:
    mount_helper.run([HELPER, source, "/mnt"])
    assert asked == [[*WAITING, *words, "--", "/mnt"]]


def test_an_environment_without_home_and_path(
    asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("PATH")
    mount_helper.run([HELPER, "photos", "/mnt"])
    assert os.environ["HOME"] == pwd.getpwuid(os.geteuid()).pw_dir
    assert "/usr/local/bin" in os.environ["PATH"].split(":")


def test_a_user_that_does_not_exist(asked: list[list[str]]) -> None:
    with pytest.raises(ConfigError, match="nobody-of-that-name"):
        mount_helper.run([HELPER, "photos", "/mnt", "-o", "run_as=nobody-of-that-name"])


def test_mount_gets_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    for words in (["a@b.c", "/nowhere", "-o", "bad"], ["a@b.c", "/nowhere", "-o", "uid=x"]):
        monkeypatch.setattr(sys, "argv", [HELPER, *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == mount_helper.FAILED
    told = capsys.readouterr().err
    assert "icloudfs: Unknown mount option 'bad'." in told
    assert "'--uid'" in told
