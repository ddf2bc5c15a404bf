"""What is ours alone, under every umask, and what nothing of ours is put into."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from icloudfs import logs, ours
from icloudfs.cache.places import Places
from icloudfs.config import Settings, make_state_directory
from icloudfs.errors import CacheUnusable, ConfigError
from icloudfs.state import database
from icloudfs.state.lock import WriterLock, lock_path

OTHER = pwd.getpwnam("nobody").pw_uid


@pytest.fixture(params=[0, 0o022, 0o077, 0o777], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("_umask")
def test_what_is_made_is_its_owners_alone(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    ours.make_directory(directory)
    assert mode(directory) == 0o700
    account = "me@example.com"
    with WriterLock(directory, account, "test"):
        database.create(directory / "me.db").close()
    logs._LogFile(directory / "me.log").close()
    assert not Places(tmp_path / "cache").prepare()
    made = lock_path(directory, account), directory / "me.db", directory / "me.log"
    for path in (*made, tmp_path / "cache/in-use", tmp_path / "cache/which"):
        assert mode(path) == 0o600, path
    for path in (tmp_path / "cache", tmp_path / "cache/content"):
        assert mode(path) == 0o700


def test_a_file_of_before_becomes_its_owners_alone(tmp_path: Path) -> None:
    log = tmp_path / "me.log"
    log.write_text("of an earlier version\n")
    log.chmod(0o644)
    logs._LogFile(log).close()
    assert mode(log) == 0o600
    assert log.read_text() == "of an earlier version\n"


def test_what_is_no_file_keeps_its_permissions() -> None:
    before = Path(os.devnull).stat().st_mode
    logs._LogFile(os.devnull).close()
    assert Path(os.devnull).stat().st_mode == before


# -- what is refused ---------------------------------------------------------------------------------


def _of_another(directory: Path) -> None:
    os.chown(directory, OTHER, -1)


def _writable(directory: Path) -> None:
    directory.chmod(0o777)


def _writable_by_a_group(directory: Path) -> None:
    directory.chmod(0o720)


def _with_a_link(directory: Path) -> None:
    link = directory / "content"
    link.symlink_to("/etc")
    os.chown(link, OTHER, -1, follow_symlinks=False)


def _with_a_hard_link(directory: Path) -> None:
    elsewhere = directory.with_name("elsewhere")
    elsewhere.write_text("of another")
    os.chown(elsewhere, OTHER, -1)
    (directory / "me.log").hardlink_to(elsewhere)


@pytest.mark.parametrize(
    "spoil",
    [_of_another, _writable, _writable_by_a_group, _with_a_link, _with_a_hard_link],
    ids=lambda spoil: spoil.__name__,
)
def test_a_directory_that_is_not_ours_alone_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    directory = tmp_path / "place"
    directory.mkdir(mode=0o700)
    assert ours.objection(directory) is None
    spoil(directory)
    before = sorted(directory.iterdir())
    with pytest.raises(ConfigError, match="state directory") as refused:
        make_state_directory(Settings(cookie_directory=directory))
    assert refused.value.hint
    with pytest.raises(CacheUnusable, match="cache directory"):
        Places(directory).prepare()
    assert sorted(directory.iterdir()) == before


def test_a_cache_that_others_may_put_another_in_the_place_of(tmp_path: Path) -> None:
    """It is in a directory that is named for it; one that all may write to, such as /tmp, is sticky. A group of
    the user's own is nobody else."""
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    own = os.getegid()
    for mode, group, refuses in (
        (0o777, own, True),
        (0o775, OTHER, True),
        (0o775, own, False),
        (0o1777, OTHER, False),
        (0o755, OTHER, False),
    ):
        os.chown(chosen, -1, group)
        chosen.chmod(mode)
        if refuses:
            with pytest.raises(CacheUnusable, match=r"other users may write to .*chosen "):
                Places(chosen / "me@example.com").prepare()
        else:
            Places(chosen / "me@example.com").prepare()


def test_a_link_to_it_counts_as_it_does(tmp_path: Path) -> None:
    """Ours, or one that root made: a disk with more room, for one."""
    (tmp_path / "disk").mkdir(mode=0o700)
    link = tmp_path / "cache"
    link.symlink_to("disk")
    assert ours.objection(link) is None
    os.chown(link, OTHER, -1, follow_symlinks=False)
    assert ours.objection(link) == "it is a link of another user's"
