"""``icloudfs doctor``: what is missing or wrong here, and how to mend it."""

from __future__ import annotations

import json

import click
import msgspec

from icloudfs.cli.options import account_options, with_account
from icloudfs.config import Settings
from icloudfs.doctor import examine
from icloudfs.errors import Incomplete


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@account_options(log_level="error")
def command(settings: Settings, as_json: bool) -> None:
    """Look at this machine, the state and the sign-in. Changes nothing."""
    findings = list(examine(with_account(settings)))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(findings), indent=2))
    else:
        for finding in findings:
            click.echo(f"{'ok ' if finding.well else 'BAD'}  {finding.about:12} {finding.says}")
            if finding.mend:
                click.echo(f"{'':18}mend it: {finding.mend}")
    if wrong := sum(not finding.well for finding in findings):
        raise Incomplete(
            "1 thing is not as it should be."
            if wrong == 1
            else f"{wrong} things are not as they should be."
        )
