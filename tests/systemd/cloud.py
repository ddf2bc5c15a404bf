"""The local iCloud, as a service of the machine."""

from __future__ import annotations

import json
from typing import Any

from icloudfs.simulator import Account
from tests.scratch import wait_until
from tests.systemd.machine import Machine

PORT = 8123
PASSWORD_FILE = "/etc/icloud-password"

_UNIT = f"""
[Service]
ExecStart=/opt/icloudfs/bin/icloudfs simulator --port {PORT} --assets 60
TimeoutStopSec=5
"""
_ASK = (
    "import json, sys; from icloudfs.simulator import ControlClient;"
    f"control = ControlClient('http://127.0.0.1:{PORT}');"
    "name, arguments, options = json.loads(sys.argv[1]);"
    "print(json.dumps(getattr(control, name)(*arguments, **options)))"
)


class Cloud:
    """Reached at ``url``, on the machine only. Restarted it is the same, but knows no session any more."""

    url = f"http://127.0.0.1:{PORT}"
    account = Account()

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        machine.write("/etc/systemd/system/icloud.service", _UNIT)
        machine.write(PASSWORD_FILE, self.account.password)
        machine.run("chmod", "600", PASSWORD_FILE)
        machine.run("systemctl", "daemon-reload")
        self.start()

    def start(self) -> None:
        self._machine.run("systemctl", "start", "icloud")
        wait_until(self._answers, 30)

    def stop(self) -> None:
        self._machine.run("systemctl", "stop", "icloud")

    def freeze(self) -> None:
        """Connections are accepted, and nothing ever comes."""
        self._machine.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", "icloud")

    def thaw(self) -> None:
        self._machine.run("systemctl", "kill", "--kill-whom=main", "--signal=CONT", "icloud")

    def _answers(self) -> bool:
        return self._ask("traffic", log=False, check=False) is not None

    def expire(self, what: str) -> None:
        """End sessions."""
        self._ask("expire", what)

    def take_photo(self, name: str) -> None:
        """On the phone."""
        self._ask("phone", "add_photo", kind="jpeg", filename=name)

    def sign_ins(self) -> int:
        """How often a password was accepted."""
        log = self._ask("traffic")["log"]
        return sum(call["path"].endswith("/signin/complete") for call in log)

    def _ask(self, name: str, *arguments: Any, check: bool = True, **options: Any) -> Any:
        question = json.dumps([name, arguments, options])
        program = ("/opt/icloudfs/bin/python", "-c", _ASK, question)
        done = self._machine.run(*program, check=check)
        return json.loads(done.stdout) if done.returncode == 0 else None
