"""A library that systemd mounts: for a user, from log-in on, or for the machine."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from tests.scratch import wait_until
from tests.systemd.cloud import PASSWORD_FILE, Cloud
from tests.systemd.machine import Machine

ICLOUDFS = "/opt/icloudfs/bin/icloudfs"

_SETTINGS = """
username = "{account}"
endpoint = "{url}"
interval = 1
timeout = 5
neighbours = false
log_level = "debug"
"""


class Photos:
    """One service and its folder."""

    unit: str
    folder: str
    user: str
    """Who runs it."""
    state: str
    """Where session and database lie."""

    def __init__(self, machine: Machine, cloud: Cloud) -> None:
        self.machine = machine
        self.cloud = cloud

    # -- the service -----------------------------------------------------------------------------

    def systemctl(self, *words: str, check: bool = True) -> str:
        raise NotImplementedError

    def icloudfs(self, *words: str, check: bool = True, **options: Any) -> str:
        raise NotImplementedError

    def start(self) -> float:
        """Seconds until it was ready."""
        began = time.monotonic()
        self.systemctl("start", self.unit)
        return time.monotonic() - began

    def stop(self) -> float:
        """Seconds until it was gone."""
        began = time.monotonic()
        self.systemctl("stop", self.unit)
        return time.monotonic() - began

    def as_before(self) -> None:
        """Stopped, signed in, without drop-ins."""
        self.stop()
        self.systemctl("reset-failed", self.unit, check=False)
        self.systemctl("revert", self.unit)
        self.systemctl("daemon-reload")
        self.login()

    def drop_in(self, text: str) -> None:
        """What ``systemctl edit`` would write; in force from the next start on."""
        raise NotImplementedError

    def shown(self, name: str) -> str:
        return self.systemctl("show", "--property", name, "--value", self.unit).strip()

    @property
    def main(self) -> int:
        """Its process, as the machine numbers them."""
        return int(self.shown("MainPID"))

    @property
    def status(self) -> str:
        """What it says of itself."""
        return self.shown("StatusText")

    def until_active(self, seconds: float = 20.0) -> None:
        wait_until(lambda: self.shown("ActiveState") == "active", seconds)

    def until_status(self, pattern: str, seconds: float = 20.0) -> None:
        wait_until(lambda: re.search(pattern, self.status), seconds)

    def until_synced(self, seconds: float = 20.0) -> None:
        self.until_status(r"^\d+ photos, as iCloud had them at ", seconds)

    # -- sign-in ---------------------------------------------------------------------------------

    def login(self) -> None:
        code = self.cloud.account.code
        password = {"ICLOUDFS_PASSWORD": self.cloud.account.password}
        self.icloudfs("login", "--code", code, environment=password)

    def sync(self) -> None:
        """Know the library, so that a mount shows all of it from its first instant on."""
        self.icloudfs("sync", "--mirror", "demand")

    def session(self) -> dict[str, Any]:
        (path,) = (self.machine.root / self.state.lstrip("/")).glob("*.session")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    # -- the folder ------------------------------------------------------------------------------

    @property
    def is_mounted(self) -> bool:
        return self.machine.mounts().get(self.folder) == "fuse.icloudfs"

    def views(self, user: str = "") -> list[str]:
        """The directories at the top, as somebody sees them."""
        return self.machine.run("ls", self.folder, user=user or self.user).stdout.split("\n")[:-1]

    def photos(self) -> list[str]:
        """Paths of all photos, each once, in an order that is always the same."""
        words = (f"{self.folder}/Library", "-type", "f", "-size", "+150k")
        found = self.machine.run("find", *words, user=self.user)
        return sorted(found.stdout.splitlines())

    def uncached(self) -> str:
        """The path of a photo that nobody has read yet."""
        look = (
            "import os, sys;"
            "state = lambda path: os.getxattr(path, 'user.icloudfs.state');"
            "print(next(path for path in sys.argv[1:] if state(path) == b'remote'))"
        )
        program = ("python3", "-c", look, *reversed(self.photos()))
        return self.machine.run(*program, user=self.user).stdout.strip()

    def read(self, path: str, check: bool = True) -> tuple[int, str]:
        """How reading a file ends, and its digest or what is wrong with it."""
        done = self.machine.run("sha256sum", path, user=self.user, check=check)
        return done.returncode, (done.stdout.split() or [done.stderr])[0]


class OfUser(Photos):
    """Mounted for one user of the machine."""

    user = "me"
    folder = "/home/me/Photos"
    unit = "icloudfs@home-me-Photos.service"
    state = "/home/me/.local/state/icloudfs"

    def __init__(self, machine: Machine, cloud: Cloud) -> None:
        super().__init__(machine, cloud)
        machine.run("loginctl", "enable-linger", self.user)
        wait_until(self._manager_runs, 20)
        settings = _SETTINGS.format(account=cloud.account.apple_id, url=cloud.url)
        self._write("/home/me/.config/icloudfs/config.toml", settings)
        machine.run("mkdir", self.folder, user=self.user)
        self.said = self.icloudfs("install-units")
        self.login()
        self.sync()

    def _manager_runs(self) -> bool:
        told = self.systemctl("is-system-running", check=False)
        return told.strip() in ("running", "degraded")

    def systemctl(self, *words: str, check: bool = True) -> str:
        command = ("systemctl", "--user", *words)
        return self.machine.run(*command, user=self.user, check=check).stdout

    def icloudfs(self, *words: str, check: bool = True, **options: Any) -> str:
        done = self.machine.run(ICLOUDFS, *words, user=self.user, check=check, **options)
        return done.stdout + done.stderr

    def drop_in(self, text: str) -> None:
        self._write(f"/home/me/.config/systemd/user/{self.unit}.d/test.conf", text)
        self.systemctl("daemon-reload")

    def _write(self, path: str, text: str) -> None:
        self.machine.run("mkdir", "-p", str(Path(path).parent), user=self.user)
        write = ("sh", "-c", 'cat > "$1"', "sh", path)
        self.machine.run(*write, user=self.user, stdin=None, input=text)


class OfServer(Photos):
    """Mounted for everybody, by a user of its own."""

    user = "icloudfs"
    folder = "/srv/photos"
    unit = "icloudfs@srv-photos.service"
    state = "/var/lib/icloudfs"
    config = "/etc/icloudfs/config.toml"

    def __init__(self, machine: Machine, cloud: Cloud) -> None:
        super().__init__(machine, cloud)
        automount = ("--automount", cloud.account.apple_id, "/srv/on-demand")
        self.said = machine.run(ICLOUDFS, "install-units", "--system", *automount).stdout
        settings = _SETTINGS.format(account=cloud.account.apple_id, url=cloud.url)
        shipped = (machine.root / self.config.lstrip("/")).read_text()
        machine.write(self.config, shipped + settings)
        machine.run("mkdir", self.folder, "/srv/on-demand", "/srv/listed")
        self.login()
        self.sync()

    def systemctl(self, *words: str, check: bool = True) -> str:
        return self.machine.run("systemctl", *words, check=check).stdout

    def icloudfs(self, *words: str, check: bool = True, **options: Any) -> str:
        command = (ICLOUDFS, words[0], "--config", self.config, *words[1:])
        done = self.machine.run(*command, user=self.user, check=check, **options)
        return done.stdout + done.stderr

    def drop_in(self, text: str) -> None:
        self.machine.write(f"/etc/systemd/system/{self.unit}.d/test.conf", text)
        self.systemctl("daemon-reload")


__all__ = ["ICLOUDFS", "PASSWORD_FILE", "OfServer", "OfUser", "Photos"]
