"""Settings: flags over environment over file over defaults; and what is said of wrong ones."""

from __future__ import annotations

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
