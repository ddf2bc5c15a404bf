"""A Debian of its own, booted by systemd in a container, and what one does on it.

The tree that ``scripts/systemd-test`` made is below, read-only; what a run does to it lies on top of it,
outlives a reboot, and is gone afterwards.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.scratch import wait_until

_TO_BOOT = 60.0
"""Seconds."""
_TO_END = 60.0
_LONGEST = 90.0
"""Seconds for any one command."""

_DEVICES = ("/dev/fuse", "/dev/autofs")
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}


_FUSE_CONTROL = (
    "mount -o remount,rw /sys && mkdir -p /sys/fs/fuse/connections &&"
    " mount -t fusectl none /sys/fs/fuse/connections && mount -o remount,ro /sys"
)
"""A machine of its own has it from the kernel; in a container /sys is a small copy."""


class Failed(AssertionError):
    """A command that was to go well did not."""


class Machine:
    """Booted, until ``close``."""

    def __init__(self, tree: Path) -> None:
        self._place = Path(tempfile.mkdtemp(prefix="run-", dir=tree.parent))
        self.root = self._place / "root"
        for name in ("root", "upper", "work"):
            (self._place / name).mkdir()
        layers = f"lowerdir={tree},upperdir={self._place / 'upper'},workdir={self._place / 'work'}"
        _host("mount", "-t", "overlay", "icloudfs-test", "-o", layers, self.root)
        self._console = self._place / "console.log"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.init = 0
        self._started = 0

    # -- on and off ------------------------------------------------------------------------------

    def boot(self) -> None:
        """Switch it on; systemd has started everything when this returns."""
        devices = [f"--bind={device}" for device in _DEVICES]
        with self._console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                ["systemd-nspawn", "-D", self.root, "--boot", "--register=no", "--keep-unit",
                 "--private-network", "--capability=all", "--console=pipe", "--quiet", *devices],
                env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            )  # fmt: skip
        try:
            wait_until(self._finds_init, _TO_BOOT)
            wait_until(lambda: self._state() in ("running", "degraded"), _TO_BOOT)
        except TimeoutError:
            raise Failed(f"it does not boot: {self._console.read_text()[-2000:]}") from None
        self.run("sh", "-c", _FUSE_CONTROL)

    def _finds_init(self) -> bool:
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        for pid in children.read_text().split():
            if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                self.init = int(pid)
        return bool(self.init)

    def _state(self) -> str:
        return self.run("systemctl", "is-system-running", check=False).stdout.strip()

    def shut_down(self) -> float:
        """Switch it off as ``systemctl poweroff`` does; seconds that it took."""
        assert self._nspawn is not None
        began = time.monotonic()
        os.kill(self.init, signal.SIGRTMIN + 4)
        try:
            self._nspawn.wait(_TO_END)
        except subprocess.TimeoutExpired:
            jobs = self.run("systemctl", "list-jobs", check=False).stdout
            processes = self.run("ps", "-eo", "pid,stat,wchan:20,args", check=False).stdout
            raise Failed(f"it does not end:\n{jobs}\n{processes}{self.journal()}") from None
        self._nspawn, self.init = None, 0
        return time.monotonic() - began

    def close(self) -> None:
        """Switch it off, and leave nothing."""
        try:
            if self._nspawn is not None:
                self.shut_down()
        finally:
            if self._nspawn is not None:
                os.killpg(self._nspawn.pid, signal.SIGKILL)
                self._nspawn.wait()
            _host("umount", self.root)
            shutil.rmtree(self._place)

    # -- commands --------------------------------------------------------------------------------

    def run(
        self, *command: str | Path, check: bool = True, user: str = "root", **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on it to its end. ``environment`` adds to what there is."""
        done = subprocess.run(
            self._inside(command, user, options.pop("environment", {})),
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST,
            **({"stdin": subprocess.DEVNULL} | options),
        )
        if check and done.returncode != 0:
            raise Failed(
                f"{command}: {done.returncode}\n{done.stdout}{done.stderr}{self.journal()}"
            )
        return done

    @contextmanager
    def running(self, *command: str | Path, user: str = "root") -> Iterator[Path]:
        """A program on it that goes on meanwhile; the file in which its output is."""
        self._started += 1
        name = f"program-{self._started}"
        output = f"/run/{name}.txt"
        options = (
            "--collect",
            f"--unit={name}",
            f"--uid={user}",
            f"--property=StandardOutput=file:{output}",
        )
        self.run("systemd-run", *options, *command)
        try:
            yield Path(output)
        finally:
            if self.init:
                self.run("systemctl", "kill", "--signal=KILL", name, check=False)

    def ends(self, output: Path, seconds: float) -> str:
        """What such a program printed, when it has ended."""
        unit = ("systemctl", "is-active", "--quiet", output.stem)
        wait_until(lambda: self.run(*unit, check=False).returncode != 0, seconds)
        return self.run("cat", output).stdout

    def unmount(self, folder: str, user: str = "root") -> None:
        """As a person does it: again, while a change is just being shown in the folder."""
        wait_until(lambda: self.run("umount", folder, user=user, check=False).returncode == 0)

    def _inside(
        self, command: tuple[str | Path, ...], user: str, more: dict[str, str]
    ) -> list[str]:
        environment = _ENVIRONMENT | {"HOME": "/root"} | more
        become: list[str] = []
        if user != "root":
            uid = self.uid(user)
            environment |= {
                "HOME": f"/home/{user}",
                "XDG_RUNTIME_DIR": f"/run/user/{uid}",
                "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{uid}/bus",
            } | more
            become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--init-groups", "--"]
        variables = [f"{name}={value}" for name, value in environment.items()]
        enter = [
            "nsenter",
            f"--target={self.init}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--cgroup",
        ]
        return [*enter, "env", "-i", *variables, *become, *map(str, command)]

    def uid(self, user: str) -> int:
        """Its number on this machine."""
        lines = (self.root / "etc/passwd").read_text().splitlines()
        return next(int(line.split(":")[2]) for line in lines if line.startswith(f"{user}:"))

    def journal(self, *options: str) -> str:
        """What was logged."""
        command = ["journalctl", "--no-pager", *(options or ("--lines=30",))]
        done = subprocess.run(
            self._inside(tuple(command), "root", {}), capture_output=True, check=False
        )
        return done.stdout.decode("utf-8", "replace")

    def mounts(self) -> dict[str, str]:
        """Type of what is mounted by where; the topmost counts."""
        lines = Path(f"/proc/{self.init}/mounts").read_text().splitlines()
        return {line.split()[1]: line.split()[2] for line in lines}

    def write(self, path: str, text: str) -> None:
        """A file of root's."""
        self.run("mkdir", "-p", Path(path).parent)
        self.run("sh", "-c", 'cat > "$1"', "sh", path, stdin=None, input=text)


@contextmanager
def booted(tree: Path) -> Iterator[Machine]:
    """A machine, until the end. /dev/fuse is for everybody on it, and afterwards as it was."""
    before = Path("/dev/fuse").stat().st_mode & 0o7777
    machine = Machine(tree)
    try:
        machine.boot()
        yield machine
    finally:
        machine.close()
        with contextlib.suppress(OSError):
            Path("/dev/fuse").chmod(before)


def _host(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
