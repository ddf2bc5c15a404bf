"""``icloudfs status``: what is known, what is here, what went wrong. It never asks the network."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from icloudfs.apple import SessionStore, clock
from icloudfs.cli.options import account_options, with_account
from icloudfs.cli.running import cache_limit, running
from icloudfs.config import Settings
from icloudfs.errors import StateDamaged, WrongClock
from icloudfs.progress import IDLE, Progress
from icloudfs.state.database import database_path, look
from icloudfs.state.refusals import NOT_ASKED
from icloudfs.state.summary import Run, Summary, WithoutFile, ZoneState, list_status, summarise
from icloudfs.tree.directory import Directory
from icloudfs.trust import Trust
from icloudfs.units import duration, size

_NEVER_LISTED = "Library     never listed; mount it, or: icloudfs sync --mirror demand"
_INCOMPLETE = "Incomplete  directories that may still grow say so (EAGAIN) to whatever lists them"
_LEFT_OFF = "Incomplete  the listing was cut off; mount it, or: icloudfs sync --mirror demand"
_MOST_LISTED = 200
_MOST_NAMED = 3
_MOST_REFUSED = 20


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="All of it, for programs.")
@click.option("--failed", "wanted", flag_value="failed", help="List photos that could not be had.")
@click.option("--pending", "wanted", flag_value="pending", help="List photos not downloaded yet.")
@click.option("--downloaded", "wanted", flag_value="downloaded", help="List photos that are here.")
@click.option(
    "--watch", is_flag=True, help="Again and again, until Ctrl-C; with --json a line each."
)
@click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    help="For --watch.",
)
@account_options(log_level="error")
def command(
    settings: Settings, as_json: bool, wanted: str | None, watch: bool, every: float
) -> None:
    """Show the state of the library, the cache and the sign-in."""
    settings = with_account(settings)
    if watch:
        _watch(settings, wanted, as_json, every)
        return
    everything = _everything(settings, wanted)
    click.echo(json.dumps(everything, indent=2) if as_json else _text(settings, everything))
    _end_with(everything["trouble"])


def _end_with(trouble: dict[str, Any] | None) -> None:
    """A damaged database is an error also of who only looks. Raises StateDamaged."""
    if trouble is not None and trouble["exit_code"] == StateDamaged.exit_code:
        raise StateDamaged(trouble["error"], hint=trouble["hint"])


def _watch(settings: Settings, wanted: str | None, as_json: bool, every: float) -> None:
    with suppress(KeyboardInterrupt), _ended_like_by_ctrl_c(), _shown(as_json) as show:
        while True:
            everything = _everything(settings, wanted)
            show(json.dumps(everything) if as_json else _text(settings, everything))
            time.sleep(every)


@contextmanager
def _ended_like_by_ctrl_c() -> Iterator[None]:
    """Being told to end is the usual end of a watch."""

    def end(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)  # which trio knows how to take, whatever it is at

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _shown(as_json: bool) -> Iterator[Callable[[str], None]]:
    """In place on a terminal; one after the other elsewhere."""
    if as_json or not sys.stdout.isatty():
        yield click.echo if as_json else lambda text: click.echo(f"{text}\n")
        return
    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        yield lambda text: live.update(Text(text), refresh=True)


def _everything(settings: Settings, wanted: str | None) -> dict[str, Any]:
    path = database_path(settings.cookie_directory, settings.username)
    session = SessionStore(settings.cookie_directory, settings.username).session
    trust, runs = Trust.of(session), running(settings)
    everything: dict[str, Any] = {
        "account": settings.username,
        "signed_in": session.is_usable,
        "trusted_until": trust.until or None,
        "trust_renewal": trust.renewal,
        "trust_renews": trust.renews,
        "session_until": session.lasts_until / 1000 or None,
        "consented_until": session.consented_until / 1000 or None,
        "clock_off": session.clock_off,
        "running": None if runs is None else runs.holder,
        "folder_gone": runs is not None and runs.folder_gone,
        "database": str(path) if path.exists() else None,
    }
    if runs is not None:
        everything["now"] = runs.now
    try:
        of_state = _of_state(path, wanted)
    except StateDamaged as error:
        of_state = {"database": None, "trouble": {"error": str(error), "hint": error.hint}}
        of_state["trouble"]["exit_code"] = error.exit_code
    return everything | {"trouble": (everything.get("now") or {}).get("trouble")} | of_state


def _of_state(path: Path, wanted: str | None) -> dict[str, Any]:
    """What the database says. Raises StateDamaged."""
    connection = look(path)
    if connection is None:
        return {"database": None}
    with closing(connection):
        told: dict[str, Any] = msgspec.to_builtins(summarise(connection))
        if wanted:
            directory = Directory(connection)
            told["listed"] = [
                row | {"paths": directory.places_of_asset(int(str(row.pop("id"))))}
                for row in list_status(connection, wanted, _MOST_LISTED)
            ]
    return told


# -- as text -----------------------------------------------------------------------------------


def _text(settings: Settings, everything: dict[str, Any]) -> str:
    return "\n".join(_lines(settings, everything))


def _lines(settings: Settings, everything: dict[str, Any]) -> Iterator[str]:
    yield f"Account     {everything['account']}"
    yield f"Sign-in     {_sign_in(everything)}"
    if everything["consented_until"]:
        yield f"Approval    {_approval(everything)}"
    if trouble := clock.sentence(everything["clock_off"]):
        yield f"Clock       {trouble} {WrongClock.hint}"
    yield f"Running     {_running(everything)}"
    for transfer in (everything.get("now") or {}).get("transfers", ()):
        done, whole, rate = size(transfer["done"]), size(transfer["size"]), size(transfer["rate"])
        yield f"Transfer    {transfer['path']}: {done} of {whole}, {rate}/s"
    if trouble := everything["trouble"]:
        yield f"Database    {trouble['error']}"
    if everything["database"] is None:
        if not trouble:
            yield _NEVER_LISTED
        return
    summary = msgspec.convert({key: everything[key] for key in Summary.__struct_fields__}, Summary)
    yield from _photos(summary) if summary.zones else [_NEVER_LISTED]
    if summary.zones and not summary.complete:
        yield _INCOMPLETE if everything["running"] else _LEFT_OFF
    cache = summary.cache
    most = cache_limit(settings, everything.get("now"))
    limit = f" of {size(most)}" if most else ""
    yield f"Cache       {cache.contents} files, {size(cache.bytes)}{limit}"
    if (thumbnails := (everything.get("now") or {}).get("thumbnails")) and thumbnails["kept"]:
        yield f"Thumbnails  {_thumbnails(thumbnails)}"
    for zone in summary.zones:
        yield f"Zone        {zone.name}: {zone.photos} photos, {_listing(zone)}"
        for line in _lists(zone):
            yield f"            {line}"
    yield from _refused(summary)
    for run in summary.runs:
        yield f"Sync        {_describe(run, everything['running'])}"
    for row in everything.get("listed", ()):
        where = row["paths"][0] if row["paths"] else row["filename"] or row["asset_id"]
        yield f"{where}\t{row['last_error'] or ''}".rstrip()


def _photos(summary: Summary) -> Iterator[str]:
    """How many there are, how many of them are here, and what hinders the others."""
    assets = summary.assets
    yield (
        f"Library     {assets.visible} photos"
        f" ({assets.hidden} hidden, {assets.deleted} recently deleted besides),"
        f" {assets.files} files, {size(assets.bytes)}"
    )
    yield f"Downloaded  {assets.downloaded} photos; {size(assets.bytes_downloaded)} of all files"
    yield f"Pending     {assets.pending} photos; {size(assets.bytes_pending)} of all files"
    if assets.failed or assets.bytes_failed:
        yield f"Failed      {assets.failed} photos; {size(assets.bytes_failed)} of all files"
    if assets.without_file:
        yield f"No file     iCloud has none of {_named(assets.without_file, summary.without_file)}"


def _named(count: int, photos: list[WithoutFile]) -> str:
    """The first few by name; ``--failed`` lists all, with the reasons."""
    names = [photo.filename or photo.asset for photo in photos[:_MOST_NAMED]]
    more = f" and {count - len(names)} more" if count > len(names) else ""
    return f"{count} photos: {', '.join(names)}{more} (status --failed)"


def _sign_in(everything: dict[str, Any]) -> str:
    if not everything["signed_in"]:
        return "needed: icloudfs login"
    if (everything.get("now") or {}).get("sign_in_needed"):
        return "run out; sign in again: icloudfs login"
    if not everything["trusted_until"]:
        return "kept"
    trust = Trust(everything["trusted_until"], everything["trust_renewal"])
    return f"kept; {trust.told(time.time())}"


def _approval(everything: dict[str, Any]) -> str:
    """A device's consent to access under Advanced Data Protection, which ends after about an hour."""
    ends = everything["consented_until"]
    at, left = datetime.fromtimestamp(ends).astimezone().strftime("%x %X"), ends - time.time()
    if left <= 0:
        return f"ended {at}; your devices will ask for it again"
    return f"given on a device, until {at}, {duration(left)} from now"


def _thumbnails(told: dict[str, int]) -> str:
    kept = f"{told['kept']} kept, {size(told['bytes'])}"
    if "seeds" not in told:
        return kept
    return f"{kept}; {told['seeds']} laid out for file managers, {size(told['seed_bytes'])}"


def _running(everything: dict[str, Any]) -> str:
    if not everything["running"]:
        return "no"
    if everything["folder_gone"]:
        return f"{everything['running']}, but nothing is mounted there; unmount it all the same to end it"
    if everything["now"] is None:
        return f"{everything['running']}, does not answer"
    now = msgspec.convert(everything["now"]["sync"], Progress)
    return str(everything["running"]) if now == IDLE else f"{everything['running']}; {now}"


def _refused(summary: Summary) -> Iterator[str]:
    """What iCloud does not give, what matters first."""
    parts = sorted(summary.refused, key=lambda part: (part.harmless, part.code == NOT_ASKED))
    for part in parts[:_MOST_REFUSED]:
        since = datetime.fromtimestamp(part.since).astimezone().strftime("%x %X")
        wait = part.next_at - time.time()
        again = f"asked again in {duration(wait)}" if wait > 0 else "asked again with the next sync"
        if part.harmless:
            yield f"Not offered {part.told}, which is no failure; {again}"
        else:
            yield f"Refused     {part.told}: {part.code}, since {since}; {again}"
    if (left := len(parts) - _MOST_REFUSED) > 0:
        yield f"Refused     {left} parts more; all of them: icloudfs status --json"
    if records := summary.refused_records:
        s = "s" if records > 1 else ""
        yield f"Refused     {records} single record{s}, asked for again with each sync"


def _listing(zone: ZoneState) -> str:
    if not zone.listed:
        return "not listed to its end"
    if not zone.has_token:
        return "to be listed again"
    if zone.token_received is None:
        return "listed"
    return f"sync token {duration(time.time() - zone.token_received)} old"


def _lists(zone: ZoneState) -> Iterator[str]:
    """What iCloud's lists and counts of a library are worth, where they are not the truth."""
    if zone.indexing is not None:
        done = "" if zone.indexed_percent is None else f", {zone.indexed_percent} %"
        yield (
            f"iCloud is still indexing this library ({zone.indexing}{done}): its lists are incomplete,"
            " its history is not"
        )
    if zone.excess:
        yield f"iCloud counts {zone.excess} photos more than it gives; that is usual"
    if zone.album_excess:
        yield f"iCloud counts {zone.album_excess} photos more in albums than it gives; that is usual"


def _describe(run: Run, running: str | None) -> str:
    """Where nothing is ``running``, one without an end was cut off: a process that is killed notes nothing."""
    started = datetime.fromtimestamp(run.started_at).astimezone().strftime("%x %X")
    what = f"{run.assets_seen} photos, {run.api_calls} calls, {size(run.bytes)}"
    if run.assets_downloaded or run.assets_failed:
        what += f", {run.assets_downloaded} files downloaded"
    if run.assets_failed:
        what += f", {run.assets_failed} failed"
    if run.refused:
        what += f", {len(run.refused)} parts refused"
    if run.completed_at is not None:
        return f"{started}  {run.kind or 'no change'}, {what}, {run.completed_at - run.started_at:.1f} s"
    if run.interrupted or not running:
        return f"{started}  interrupted, {what}: {run.error or 'the process ended'}"
    return f"{started}  under way for {duration(time.time() - run.started_at)}"
