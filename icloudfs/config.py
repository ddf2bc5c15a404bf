"""Settings: flags over environment over file over defaults.

The file is TOML (``$XDG_CONFIG_HOME/icloudfs/config.toml``, or ``--config``); its keys are the fields of
``Settings``, the environment's are the same with ``ICLOUDFS_`` before them, the command line's are the
same with ``-`` for ``_``. An unknown key in the file is an error: a misspelt one would silently do
nothing.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from icloudfs import ours, pathtext, xdg
from icloudfs.apple.session import stem
from icloudfs.errors import ConfigError
from icloudfs.sync.mirror import Policy
from icloudfs.tree.layout import DEFAULT_VIEWS, View
from icloudfs.units import parse_size

ENVIRONMENT_PREFIX = "ICLOUDFS_"
_HOMELESS = Path("~")


def _own(variable: str, usual: str) -> Path:
    """Our directory among the user's; one below ``_HOMELESS`` for who has none, and has to name another."""
    try:
        return xdg.directory(variable, usual) / "icloudfs"
    except ConfigError:
        return _HOMELESS / usual


Label = Annotated[
    str, Meta(pattern=r"^(|fs|def|root)context=([A-Za-z0-9_.:-]+|\"[A-Za-z0-9_.:,-]+\")$")
]
"""As mount(8) has them; quoted if there is a comma in it."""

_Positive = Annotated[float, Meta(gt=0)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set. Sizes in bytes, times in seconds."""

    username: str = ""
    """The Apple ID."""
    region: Literal["global", "china"] = "global"
    endpoint: str = ""
    """Base URL of a simulator; empty for Apple."""
    cookie_directory: Path = _own("XDG_STATE_HOME", ".local/state")
    """Session, state database and lock."""
    cache_dir: Path = _own("XDG_CACHE_HOME", ".cache")
    cache_limit: Annotated[int, Meta(ge=0)] = 10 * 1024**3
    """Content beyond this is evicted, least recently used first; 0 for no limit."""
    password_file: Path | None = None
    views: tuple[View, ...] = tuple(view for view in View if view in DEFAULT_VIEWS)
    """The directories at the top of the mount."""
    verify: Literal["normal", "strict"] = "normal"
    """strict: not even the head of a photo is shown before the whole is verified."""
    stream_above: Annotated[int, Meta(ge=0)] = 32 * 1024**2
    """Files up to this size are served when they are whole and verified; larger ones stream."""
    timeout: _Positive = 30.0
    """A read of what is not cached fails when nothing came for so long."""
    interval: _Positive = 300.0
    """Between two looks at what changed in iCloud."""
    mirror: Policy = "demand"
    """Which photos the daemon also downloads by itself; ``sync`` has a flag of its own."""
    mirror_days: Annotated[int, Meta(ge=1)] = 30
    """For ``newest``: those taken in so many days."""
    mirror_albums: tuple[str, ...] = ()
    """For ``albums``: their paths below ``Albums``."""
    connections: Annotated[int, Meta(ge=1, le=64)] = 8
    """Requests to iCloud at a time."""
    allow_other: bool = False
    uid: int | None = None
    gid: int | None = None
    umask: Annotated[int, Meta(ge=0, le=0o777)] = 0
    labels: tuple[Label, ...] = ()
    """SELinux's mount options, such as ``context=system_u:object_r:httpd_sys_content_t:s0``."""
    noxattr: bool = False
    neighbours: bool = True
    """Whether the next photos are fetched ahead of who looks at one after another."""
    thumbnails: bool = True
    """Small pictures for file managers: Apple's own, so that looking at a folder downloads no photo."""
    log_file: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def account_cache(self) -> Path:
        """Where this account's content lies: accounts never share a cache."""
        return self.cache_dir / stem(self.username)


def make_state_directory(settings: Settings) -> Path:
    """The directory of the session, the state and the lock. Raises ConfigError if it cannot be used."""
    directory = settings.cookie_directory
    try:
        ours.make_directory(directory)
        reason = ours.objection(directory) or ""
        if not reason and not os.access(directory, os.W_OK | os.X_OK):
            reason = "it cannot be written"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise ConfigError(
            f"The state directory {directory} cannot be used: {reason}.",
            hint="Choose another one with --cookie-directory.",
        )
    return directory


def replace(settings: Settings, **changes: Any) -> Settings:
    """The same settings but for ``changes``."""
    return msgspec.structs.replace(settings, **changes)


def in_full(settings: Settings) -> Settings:
    """The same places by their whole paths, for who goes to another directory. Raises ConfigError."""
    named = {name: getattr(settings, name) for name in _PATHS}
    try:
        return replace(settings, **{name: path and path.absolute() for name, path in named.items()})
    except FileNotFoundError:
        relative = next(path for path in named.values() if path and not path.is_absolute())
        raise ConfigError(
            f"There is no {relative}: the directory where you are has been removed.",
            hint="Name whole paths, or change to another directory.",
        ) from None


def default_file() -> Path | None:
    """Where the config file is looked for if none is named; None for who has no home."""
    place = _own("XDG_CONFIG_HOME", ".config")
    return None if place.parts[0] == str(_HOMELESS) else place / "config.toml"


def load(
    flags: Mapping[str, Any],
    file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    defaults: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings in force. ``flags`` that are None were not given; ``defaults`` are a command's own.

    Raises ConfigError, naming the key and where it was read.
    """
    merged: dict[str, Any] = dict(defaults or {})
    path = file or default_file()
    if path is not None:
        _merge(merged, _read_file(path, required=file is not None), f"in {path}")
    _merge(merged, _from_environment(environment), "in the environment")
    _merge(
        merged, {key: value for key, value in flags.items() if value is not None}, "as an option"
    )
    settings = _convert(merged, "in the settings")
    for key in ("cookie_directory", "cache_dir"):
        if key not in merged and getattr(settings, key).parts[0] == str(_HOMELESS):
            raise ConfigError(
                f"There is no home directory, and no {key.replace('_', ' ')} is named.",
                hint=f"Name one with --{key.replace('_', '-')}, or set HOME.",
            )
    return settings


def _merge(merged: dict[str, Any], layer: dict[str, Any], where: str) -> None:
    """Lay one layer over the others. Each is checked by itself, so that an error can say where."""
    _convert(layer, where)
    merged.update(layer)


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        # Windows' editors begin it with a byte order mark, and any may end lines in their own way.
        return tomllib.loads(re.sub("\r\n?", "\n", path.read_bytes().decode("utf-8-sig")))
    except FileNotFoundError:
        if required:
            raise ConfigError(f"The config file {path} does not exist.") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The config file {path} cannot be read: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for key in Settings.__struct_fields__:
        # A variable that is set to nothing is as good as none.
        if value := one_line(environment.get(ENVIRONMENT_PREFIX + key.upper(), "")):
            layer[key] = _list(value) if key in _LISTS else value
    return layer


def one_line(text: str) -> str:
    """A line without what editors of other systems put around it: a byte order mark, the end of a line."""
    return text.removeprefix("\ufeff").rstrip("\r\n")


def _list(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


_LISTS = ("views", "mirror_albums", "labels")
_SIZES = ("cache_limit", "stream_above")
_PATHS = ("cookie_directory", "cache_dir", "password_file", "log_file")


def _words(value: Any) -> list[str]:
    return [
        word
        for word in (value if isinstance(value, list | tuple) else [value])
        if isinstance(word, str)
    ]


def _convert(layer: Mapping[str, Any], where: str) -> Settings:
    values = dict(layer)
    try:
        for key in _SIZES:
            if isinstance(values.get(key), str):
                values[key] = parse_size(values[key])
        if isinstance(values.get("umask"), str):
            values["umask"] = parse_octal(values["umask"])
        for key, value in values.items():
            if key not in _PATHS and not all(map(pathtext.is_text, _words(value))):
                raise ValueError(f"{key} is no text")
        settings = msgspec.convert(values, Settings, strict=False, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(_explain(error, where), hint=_hint(error)) from error
    return settings


def _decode(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        try:
            return Path(value).expanduser()
        except RuntimeError:
            raise ValueError(f"there is no home directory for {value!r}") from None
    if kind is Path and isinstance(value, Path):
        return value
    raise ValueError(f"cannot read {value!r}")


_UNKNOWN_KEY = re.compile(r"unknown field `(.*?)`")
_OF_KEY = re.compile(r"(.*) - at `\$\.(\w+).*`")
"""msgspec's words: what is wrong, and the path of where."""


def _explain(error: Exception, where: str) -> str:
    if unknown := _UNKNOWN_KEY.search(str(error)):
        return f"Unknown key '{unknown[1]}' {where}."
    if known := _OF_KEY.fullmatch(str(error)):
        what, key = known[1].replace("`", "'"), known[2]
        return f"Bad value for '{key}' {where}: {what[0].lower()}{what[1:]}."
    return f"Bad value {where}: {error}."


def _hint(error: Exception) -> str:
    unknown = _UNKNOWN_KEY.search(str(error))
    if unknown is None:
        return ""
    known = Settings.__struct_fields__
    if meant := difflib.get_close_matches(unknown[1], known, 1):
        return f"Is '{meant[0]}' meant?"
    return f"Known keys: {', '.join(known)}."


def parse_octal(text: str) -> int:
    """Permission bits as ``chmod`` takes them: ``022``, ``0o22``, ``77``. Raises ValueError."""
    try:
        return int(text, 8)
    except ValueError:
        raise ValueError(f"'{text}' is no octal number; write for example 022") from None
