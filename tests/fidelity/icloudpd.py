"""icloudpd as PyPI has it: one program file, so it is driven as a person drives it, by options.

It obeys ``HTTPS_PROXY`` and ``REQUESTS_CA_BUNDLE`` everywhere but where it asks for the code
(facts/real-clients.md §3). So the code is entered elsewhere, and icloudpd is given the trust that came of it,
in its own file.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from icloudfs.simulator import Account
from tests.scratch import Scratch

BY_SECOND = "{:%Y-%m-%dT%H%M%S}"
"""A folder for each second: no two photos of one name share it."""


@dataclass(frozen=True)
class Order:
    """One set of photos to be fetched; several make one run."""

    directory: Path
    options: Sequence[str] = ()
    structure: str = "{:%Y/%Y-%m}"
    sizes: Sequence[str] = ("original", "adjusted", "alternative")

    def arguments(self) -> list[str]:
        sizes = [word for size in self.sizes for word in ("--size", size)]
        return [
            "--directory",
            str(self.directory),
            "--folder-structure",
            self.structure,
            "--keep-unicode-in-filenames",
            *sizes,
            *self.options,
        ]


class ICloudPD:
    """One person's icloudpd: its cookies and session lie in a folder of their own."""

    def __init__(
        self, clients: Path, scratch: Scratch, account: Account, doors: Mapping[str, str], name: str
    ) -> None:
        self._program = clients / "bin" / "icloudpd"
        self._scratch = scratch
        self._account = account
        self.folder = scratch.folder / name
        self.folder.mkdir()
        unpacked = self.folder / "unpacked"
        unpacked.mkdir()
        # It makes its folders by the machine's time zone, and unpacks itself into the temporary directory.
        self._environment = {**doors, "TZ": "UTC", "TMPDIR": str(unpacked)}

    def trust(self, token: str) -> None:
        """Be where it is after the second factor, with no session yet."""
        name = "".join(filter(str.isalnum, self._account.apple_id))
        session = {"client_id": f"auth-{uuid.uuid4()}", "trust_token": token}
        (self.folder / f"{name}.session").write_text(json.dumps(session))

    def albums(self) -> list[str]:
        """What it lists."""
        told = self._run(["--list-albums"])
        return told.split("Albums:\n", 1)[1].splitlines()

    def libraries(self) -> list[str]:
        return self._run(["--list-libraries"]).splitlines()

    def download(self, orders: Sequence[Order]) -> str:
        """Fetch all of it; what it said."""
        return self._run(*(order.arguments() for order in orders))

    def would_download(self, orders: Sequence[Order]) -> list[list[Path]]:
        """The files it would write for each order, below the order's directory."""
        told = self._run(
            *(order.arguments() for order in orders), options=["--only-print-filenames"]
        )
        return [_printed(told, order.directory) for order in orders]

    def _run(self, *groups: Sequence[str], options: Sequence[str] = ()) -> str:
        account = ["--username", self._account.apple_id, "--password", self._account.password]
        common = [*account, "--cookie-directory", str(self.folder)]
        everybody = ["--no-progress-bar", "--log-level", "error", *options]
        words = [word for group in groups for word in (*common, *group)]
        done = self._scratch.run(self._program, *everybody, *words, environment=self._environment)
        return done.stdout


def _printed(told: str, directory: Path) -> list[Path]:
    """Names may have line breaks: a path ends where the next absolute one begins."""
    paths = ("\n" + told).split(f"\n{directory}/")[1:]
    return [Path(path.split("\n/")[0].rstrip("\n")) for path in paths]
