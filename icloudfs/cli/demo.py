"""``icloudfs demo``: everything at once, with no account."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import click

from icloudfs.cli.kinds import kind_option, listed_kinds
from icloudfs.demo.check import check as compare
from icloudfs.demo.stage import Stage, setting
from icloudfs.errors import Incomplete
from icloudfs.tree.layout import View

_MOST_SHOWN = 20


@click.command("demo", epilog=listed_kinds())
@click.argument("mount_point", type=click.Path(path_type=Path), required=False)
@click.option("--check", is_flag=True, help="Compare every file with the local iCloud's, and end.")
@click.option("--assets", default=300, show_default=True, help="Size of the generated library.")
@kind_option
def command(mount_point: Path | None, check: bool, assets: int, kind: str) -> None:
    """Start a local iCloud with a generated library, sign in, mount it, and stay until Ctrl-C."""
    views = [view.value for view in View] if check else []
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # tidy up like after Ctrl-C
    with setting(mount_point, assets, views, kind) as stage:
        if check:
            _check(stage)
        else:
            with contextlib.suppress(KeyboardInterrupt):
                _invite(stage)
                _wait()


def _check(stage: Stage) -> None:
    report = compare(stage.mount_point, stage.url)
    for difference in report.differences[:_MOST_SHOWN]:
        click.echo(f"  {difference}", err=True)
    click.echo(str(report))
    if report.differences:
        raise Incomplete("The mount is not what the local iCloud holds.")


def _invite(stage: Stage) -> None:
    place = stage.mount_point
    click.echo(f"""
An iCloud Photos library is mounted on {place}

  ls {place}
  find {place}/Library -name '*.HEIC' | head
  xdg-open {place}                        # browse it
  getfattr -d {place}/Favorites/*         # what iCloud knows of a photo
  curl -X POST {stage.url}/simulator/phone/add_photo -d '{{}}'   # take a photo on the phone

For icloudfs commands in another terminal:

  export ICLOUDFS_ENDPOINT={stage.environment["ICLOUDFS_ENDPOINT"]}
  export ICLOUDFS_USERNAME={stage.environment["ICLOUDFS_USERNAME"]}
  export ICLOUDFS_COOKIE_DIRECTORY={stage.environment["ICLOUDFS_COOKIE_DIRECTORY"]}
  icloudfs status

Ctrl-C ends it.
""")


def _wait() -> None:
    while True:
        signal.pause()
