"""Settings: flags over environment over file over defaults; and what is said of wrong ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from icloudfs import config
from icloudfs.cli.options import account_options
from icloudfs.config import Settings, load, parse_octal
from icloudfs.errors import ConfigError
from icloudfs.tree.layout import PRIVATE_VIEWS, View
from tests.odd import NAMES


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text("")
    return path


def complaint(flags: dict[str, Any], file: Path, environment: dict[str, str]) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        load(flags, file, environment)
    return raised.value


# -- precedence ------------------------------------------------------------------------------------

LAYERS = st.fixed_dictionaries(
    {},
    optional={
        layer: st.integers(min_value=1, max_value=10**6) for layer in ("flag", "variable", "file")
    },
)


@given(LAYERS)
def test_the_nearest_layer_wins(tmp_path_factory: pytest.TempPathFactory, layers: Any) -> None:
    file = tmp_path_factory.mktemp("config") / "config.toml"
    file.write_text(f"interval = {layers['file']}\n" if "file" in layers else "")
    environment = {"ICLOUDFS_INTERVAL": str(layers["variable"])} if "variable" in layers else {}

    settings = load({"interval": layers.get("flag")}, file, environment)

    nearest = [layers[layer] for layer in ("flag", "variable", "file") if layer in layers]
    assert settings.interval == (nearest[0] if nearest else Settings().interval)


def test_every_layer_adds_what_the_others_leave_out(file: Path) -> None:
    file.write_text('username = "file@example.com"\ncache_limit = "1G"\nnoxattr = true\n')
    environment = {"ICLOUDFS_USERNAME": "variable@example.com", "ICLOUDFS_UMASK": "077"}

    settings = load({"timeout": 5.0}, file, environment)

    assert settings.username == "variable@example.com"
    assert (settings.cache_limit, settings.noxattr) == (1 << 30, True)
    assert (settings.umask, settings.timeout) == (0o077, 5.0)


def test_a_command_s_own_default_is_the_farthest_layer(file: Path) -> None:
    """``status`` logs errors only, unless somebody wants more."""
    own = {"log_level": "error"}
    assert load({}, file, {}, own).log_level == "error"
    file.write_text('log_level = "warning"\n')
    assert load({}, file, {}, own).log_level == "warning"
    assert load({}, file, {"ICLOUDFS_LOG_LEVEL": "info"}, own).log_level == "info"
    assert load({"log_level": "debug"}, file, {}, own).log_level == "debug"


def test_the_log_level_of_the_environment_reaches_a_command(tmp_path: Path) -> None:
    seen = []

    @click.command()
    @account_options(log_level="error")
    def command(settings: Settings) -> None:
        seen.append(settings.log_level)

    none = ["--config", str(tmp_path / "config.toml")]
    (tmp_path / "config.toml").write_text("")
    for environment in ({}, {"ICLOUDFS_LOG_LEVEL": "warning"}):
        CliRunner().invoke(command, none, env=environment, catch_exceptions=False)
    assert seen == ["error", "warning"]


def test_a_variable_that_is_set_to_nothing_is_none(file: Path) -> None:
    file.write_text('username = "file@example.com"\n')

    settings = load({}, file, {"ICLOUDFS_USERNAME": "", "ICLOUDFS_VIEWS": "", "ICLOUDFS_UID": ""})

    assert settings == config.replace(Settings(), username="file@example.com")


def test_other_variables_are_nobody_s_business(file: Path) -> None:
    assert load({}, file, {"ICLOUDFS_PASSWORD": "x", "ICLOUDFS_READY_FD": "3"}) == Settings()


def test_without_a_file_there_are_defaults(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(config, "default_file", lambda: tmp_path / "nowhere.toml")

    assert load({}, None, {}) == Settings()


# -- kinds of value --------------------------------------------------------------------------------


@given(st.integers(min_value=0, max_value=0o777))
def test_umask_is_octal_everywhere(mask: int) -> None:
    assert parse_octal(f"{mask:03o}") == parse_octal(f"0o{mask:o}") == mask


def test_umask_of_each_layer(file: Path) -> None:
    assert load({"umask": "027"}, file, {}).umask == 0o027
    assert load({}, file, {"ICLOUDFS_UMASK": "27"}).umask == 0o027
    file.write_text('umask = "022"\n')
    assert load({}, file, {}).umask == 0o022
    file.write_text("umask = 0o077\n")
    assert load({}, file, {}).umask == 0o077


def test_views_of_each_layer(file: Path) -> None:
    file.write_text('views = ["Library", "Hidden"]\n')
    assert load({}, file, {}).views == (View.LIBRARY, View.HIDDEN)
    environment = {"ICLOUDFS_VIEWS": "Albums, Live Photos,"}
    assert load({}, file, environment).views == (View.ALBUMS, View.LIVE)
    assert load({"views": ("Favorites",)}, file, environment).views == (View.FAVORITES,)


def test_hidden_and_deleted_are_no_default() -> None:
    assert not PRIVATE_VIEWS & set(Settings().views)
    assert PRIVATE_VIEWS | set(Settings().views) == set(View)


def test_labels_and_nothing_else_reach_the_kernel(file: Path) -> None:
    labels = ("context=a:b:c_t:s0", 'defcontext="a:b:c_t:s0:c1,c2"')
    assert load({"labels": labels}, file, {}).labels == labels
    for bad in ("suid", "context=a,suid", "context=", "contexts=a", "context=a\\,suid"):
        assert "'labels'" in str(complaint({"labels": [bad]}, file, {}))


def test_paths_begin_at_home(file: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    file.write_text('cache_dir = "~/cache"\n')

    settings = load({}, file, {"ICLOUDFS_COOKIE_DIRECTORY": "~/state"})

    assert settings.cache_dir == Path("/home/alice/cache")
    assert settings.cookie_directory == Path("/home/alice/state")


@pytest.mark.parametrize("text, value", [("1", True), ("true", True), ("0", False)])
def test_switches_in_the_environment(file: Path, text: str, value: bool) -> None:
    assert load({}, file, {"ICLOUDFS_ALLOW_OTHER": text}).allow_other is value


def test_accounts_never_share_a_cache(tmp_path: Path) -> None:
    caches = {
        Settings(username=name, cache_dir=tmp_path).account_cache()
        for name in ("", "a@example.com", "b@example.com", "../../etc")
    }

    assert len(caches) == 4
    assert all(cache.parent == tmp_path for cache in caches)


# -- what is wrong ---------------------------------------------------------------------------------


def test_an_unknown_key_and_what_was_meant(file: Path) -> None:
    file.write_text("cache-limit = 5\n")
    error = complaint({}, file, {})
    assert str(error) == f"Unknown key 'cache-limit' in {file}."
    assert error.hint == "Is 'cache_limit' meant?"

    file.write_text("colour = 5\n")
    assert complaint({}, file, {}).hint.startswith("Known keys: username, region, ")


@pytest.mark.parametrize(
    "line, key",
    [
        ('interval = "often"', "interval"),
        ("interval = 0", "interval"),
        ("timeout = -1", "timeout"),
        ("connections = 0", "connections"),
        ("cache_limit = -5", "cache_limit"),
        ("umask = 0o1000", "umask"),
        ('region = "mars"', "region"),
        ('verify = "sometimes"', "verify"),
        ('views = ["Nonsense"]', "views"),
        ('views = "Library"', "views"),
        ('log_level = "chatty"', "log_level"),
        ('allow_other = "perhaps"', "allow_other"),
    ],
)
def test_a_bad_value_names_its_key_and_file(file: Path, line: str, key: str) -> None:
    file.write_text(f"{line}\n")

    error = str(complaint({}, file, {}))

    assert error.startswith(f"Bad value for '{key}' in {file}: ")
    assert "\n" not in error and "`" not in error


def test_a_bad_variable_is_not_blamed_on_the_file(file: Path) -> None:
    error = complaint({}, file, {"ICLOUDFS_TIMEOUT": "long"})

    assert str(error).startswith("Bad value for 'timeout' in the environment: ")


def test_a_bad_flag(file: Path) -> None:
    assert str(complaint({"umask": "9"}, file, {})) == (
        "Bad value as an option: '9' is no octal number; write for example 022."
    )


@pytest.mark.parametrize("text", [b"x = ", b"\xff\xfe", b"[a\n"], ids=["cut", "binary", "table"])
def test_no_toml(file: Path, text: bytes) -> None:
    file.write_bytes(text)

    assert str(complaint({}, file, {})).startswith(f"The config file {file} cannot be read: ")


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    assert str(complaint({}, tmp_path / "x.toml", {})).endswith("x.toml does not exist.")


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.integers() | st.text(), max_size=3))
def test_whatever_the_flags_are_it_is_settings_or_a_sentence(flags: dict[str, Any]) -> None:
    try:
        load(flags, None, {})
    except ConfigError as error:
        assert "\n" not in str(error) or any("\n" in key for key in flags)


# -- what other systems write, and what is no text ---------------------------------------------------

_TWO_LINES = b'username = "me@example.com"\ncache_limit = "20G"\n'


@pytest.mark.parametrize(
    "content",
    [
        _TWO_LINES,
        b"\xef\xbb\xbf" + _TWO_LINES,
        _TWO_LINES.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + _TWO_LINES.replace(b"\n", b"\r\n").rstrip(),
        _TWO_LINES.replace(b"\n", b"\r"),
    ],
    ids=["as here", "BOM", "CRLF", "BOM, CRLF and no end", "CR"],
)
def test_a_file_from_an_editor_of_another_system(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    settings = load({}, file, {})

    assert (settings.username, settings.cache_limit) == ("me@example.com", 20 << 30)


@pytest.mark.parametrize("around", [("", "\r"), ("\ufeff", ""), ("\ufeff", "\r\n"), ("", "\n")])
def test_a_variable_from_a_file_of_another_system(file: Path, around: tuple[str, str]) -> None:
    before, after = around
    values = {"USERNAME": "me@example.com", "CACHE_LIMIT": "20G", "VIEWS": "Library,Albums"}

    settings = load({}, file, {f"ICLOUDFS_{k}": f"{before}{v}{after}" for k, v in values.items()})

    assert (settings.username, settings.cache_limit) == ("me@example.com", 20 << 30)
    assert settings.views == (View.LIBRARY, View.ALBUMS)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_place_may_be_called_anything(file: Path, name: str) -> None:
    """By a variable, which may end in the end of a line by mistake, and by a flag, which may not."""
    said = {"ICLOUDFS_CACHE_DIR": f"/srv/{name}/below"}

    settings = load({"cookie_directory": Path("/srv", name)}, file, said)

    assert settings.cookie_directory == Path("/srv", name)
    assert settings.cache_dir == Path("/srv", name, "below")


@pytest.mark.parametrize("key", ["username", "endpoint", "mirror_albums"])
def test_what_is_no_text_where_text_is_wanted(file: Path, key: str) -> None:
    assert f"{key} is no text" in str(complaint({}, file, {f"ICLOUDFS_{key.upper()}": "a\udcff"}))
    assert f"{key} is no text" in str(complaint({key: ["\udcff"]}, file, {}))


# -- who has no home ---------------------------------------------------------------------------------

_LOAD = """
import sys
from icloudfs import config, xdg
from icloudfs.desktop.seeds import thumbnails_directory
from icloudfs.errors import ConfigError
named = {key: f"/srv/{key}" for key in sys.argv[1:]}
try:
    print(config.load(named).cookie_directory, config.load(named).cache_dir)
except ConfigError as error:
    print(error.exit_code, error, error.hint)
print(xdg.home(), thumbnails_directory(), config.default_file())
"""


def _loaded_by(uid: int, environment: dict[str, str], *named: str) -> list[str]:
    """What a user who is in no list finds, in a process of its own that has imported everything as root."""
    become = f"import os; from icloudfs import config, desktop; os.setgid({uid}); os.setuid({uid})"
    command = [
        sys.executable,
        "-c",
        f"{become}\nfrom importlib import reload; reload(config)\n{_LOAD}",
    ]
    done = subprocess.run(
        [*command, *named], env=environment, capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


_UNKNOWN = 54321


def test_who_has_no_home_names_places() -> None:
    said, places = _loaded_by(_UNKNOWN, {})
    assert said == (
        "10 There is no home directory, and no cookie directory is named."
        " Name one with --cookie-directory, or set HOME."
    )
    assert places == "None None None"

    said, _ = _loaded_by(_UNKNOWN, {}, "cookie_directory")
    assert "no cache dir is named. Name one with --cache-dir" in said

    said, _ = _loaded_by(_UNKNOWN, {}, "cookie_directory", "cache_dir")
    assert said == "/srv/cookie_directory /srv/cache_dir"


def test_who_has_no_home_may_have_directories() -> None:
    where = {"XDG_STATE_HOME": "/srv/state", "XDG_CACHE_HOME": "/srv/cache"}

    said, _ = _loaded_by(_UNKNOWN, where)

    assert said == "/srv/state/icloudfs /srv/cache/icloudfs"


def test_a_home_that_is_set_to_nothing_is_that_of_the_list() -> None:
    _, places = _loaded_by(0, {"HOME": ""})
    assert places.startswith(f"{Path('~root').expanduser()} ")


def test_a_tilde_without_a_home_is_a_sentence(file: Path) -> None:
    file.write_text('cache_dir = "~nobody-of-that-name/cache"')
    assert "there is no home directory" in str(complaint({}, file, {}))


# -- going elsewhere ---------------------------------------------------------------------------------


def test_places_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = config.in_full(Settings(cache_dir=Path("cache"), log_file=Path("../log")))
    assert settings.cache_dir == tmp_path / "cache"
    assert settings.log_file == tmp_path / "../log"
    assert settings.password_file is None


def test_a_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    whole = Settings(cookie_directory=tmp_path, cache_dir=tmp_path)
    assert config.in_full(whole).cache_dir == tmp_path
    with pytest.raises(ConfigError, match="There is no cache: the directory where you are"):
        config.in_full(Settings(cookie_directory=tmp_path, cache_dir=Path("cache")))
