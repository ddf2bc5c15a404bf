"""mount(8), /etc/fstab and automounts."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.scratch import wait_until
from tests.systemd.machine import Machine
from tests.systemd.photos import OfServer

TYPES = ("icloudfs", "fuse.icloudfs")
FOLDER = "/srv/listed"
ON_DEMAND = "/srv/on-demand"
OPTIONS = "_netdev,allow_other,run_as=icloudfs,config=/etc/icloudfs/config.toml"


@pytest.fixture
def fstab(of_server: OfServer) -> Iterator[Machine]:
    """A machine whose fstab may be written to."""
    machine = of_server.machine
    yield machine
    for folder in (FOLDER, ON_DEMAND, "/home/me/Photos"):
        machine.run("umount", "--lazy", folder, check=False)
    machine.write("/etc/fstab", "")
    machine.run("systemctl", "daemon-reload")
    wait_until(lambda: not daemons(machine))


def daemons(machine: Machine) -> list[str]:
    """Processes that serve mounts."""
    found = machine.run("pgrep", "--list-full", "--full", "icloudfs mount", check=False).stdout
    return [line for line in found.splitlines() if "pgrep" not in line]


def mounted(machine: Machine, folder: str) -> bool:
    return machine.mounts().get(folder) == "fuse.icloudfs"


@pytest.mark.parametrize("type", TYPES)
def test_by_hand(fstab: Machine, of_server: OfServer, type: str) -> None:
    account = of_server.cloud.account.apple_id
    fstab.run("mount", "-t", type, account, FOLDER, "-o", OPTIONS)
    assert "Library" in fstab.run("ls", FOLDER, user="me").stdout
    options = fstab.run("findmnt", "--noheadings", "--output", "OPTIONS", FOLDER).stdout
    assert {"nosuid", "nodev"} <= set(options.strip().split(","))

    fstab.unmount(FOLDER)
    wait_until(lambda: not daemons(fstab))

    refused = fstab.run("mount", "-t", type, account, FOLDER, "-o", f"{OPTIONS},fast", check=False)
    assert refused.returncode == 32
    assert "Unknown mount option 'fast'" in refused.stderr


@pytest.mark.parametrize("type", TYPES)
def test_a_line_in_fstab(fstab: Machine, of_server: OfServer, type: str) -> None:
    account = of_server.cloud.account.apple_id
    fstab.write("/etc/fstab", f"{account} {FOLDER} {type} {OPTIONS},noauto,nofail 0 0\n")
    fstab.run("systemctl", "daemon-reload")
    told = fstab.run("systemctl", "show", "-p", "After", "srv-listed.mount").stdout
    assert "network-online.target" in told
    fstab.run("mount", FOLDER)
    assert "Library" in fstab.run("ls", FOLDER, user="me").stdout
    fstab.unmount(FOLDER)
    wait_until(lambda: not daemons(fstab))

    # The same line, as systemd does it.
    fstab.run("systemctl", "start", "srv-listed.mount")
    assert "Library" in fstab.run("ls", FOLDER, user="me").stdout
    wait_until(
        lambda: fstab.run("systemctl", "stop", "srv-listed.mount", check=False).returncode == 0
    )
    wait_until(lambda: not daemons(fstab))


@pytest.mark.parametrize("type", TYPES)
def test_a_line_that_says_whose_the_files_are(
    fstab: Machine, of_server: OfServer, type: str
) -> None:
    options = f"{OPTIONS},noauto,uid=1234,gid=2345,umask=0027"
    fstab.write("/etc/fstab", f"{of_server.cloud.account.apple_id} {FOLDER} {type} {options} 0 0\n")
    fstab.run("mount", FOLDER)
    shown = fstab.run("stat", "--format", "%u %g %a", f"{FOLDER}/Library").stdout
    assert shown == "1234 2345 750\n"
    assert fstab.run("ls", FOLDER, user="me", check=False).returncode != 0


@pytest.mark.parametrize("type", TYPES)
def test_a_line_that_mounts_on_demand(fstab: Machine, of_server: OfServer, type: str) -> None:
    """Whoever looks first waits for the mount, and the mount must not wait for itself."""
    account = of_server.cloud.account.apple_id
    line = f"{account} {FOLDER} {type} {OPTIONS},noauto,nofail,x-systemd.automount 0 0\n"
    fstab.write("/etc/fstab", line)
    fstab.run("systemctl", "daemon-reload")
    fstab.run("systemctl", "start", "srv-listed.automount")
    assert not mounted(fstab, FOLDER)
    assert "Library" in fstab.run("ls", FOLDER, user="me").stdout
    assert mounted(fstab, FOLDER)
    fstab.run("systemctl", "stop", "srv-listed.automount", "srv-listed.mount")


def test_what_is_mounted_on_demand_is_complete(fstab: Machine, of_server: OfServer) -> None:
    """Whoever looks first waits for the first listing; the daemon waits for nobody meanwhile."""
    of_server.icloudfs("reset-state", "--yes")
    unit = r"srv-on\x2ddemand"
    fstab.run("systemctl", "start", f"{unit}.automount")
    assert "Library" in fstab.run("ls", ON_DEMAND, user="me").stdout
    fstab.run("find", ON_DEMAND, "-mindepth", "1", user="me")
    fstab.run("systemctl", "stop", f"{unit}.mount", f"{unit}.automount")


def test_a_line_for_users(fstab: Machine, of_server: OfServer, of_user: object) -> None:
    account = of_server.cloud.account.apple_id
    for type in TYPES:
        fstab.write("/etc/fstab", f"{account} /home/me/Photos {type} noauto,user 0 0\n")
        fstab.run("mount", "/home/me/Photos", user="me")
        assert "Library" in fstab.run("ls", "/home/me/Photos", user="me").stdout
        fstab.unmount("/home/me/Photos", user="me")
        wait_until(lambda: not daemons(fstab))


def test_the_pair_of_units(fstab: Machine, of_server: OfServer) -> None:
    unit = r"srv-on\x2ddemand"
    fstab.run("systemctl", "start", f"{unit}.automount")
    assert not mounted(fstab, ON_DEMAND)
    for _ in range(2):
        assert "Library" in fstab.run("ls", ON_DEMAND, user="me").stdout
        # It logs to the journal, which has it by its unit.
        assert "mounted icloudfs:" in fstab.journal("--unit", f"{unit}.mount", "--lines=all")
        fstab.unmount(ON_DEMAND)
        wait_until(lambda: not daemons(fstab))
        assert fstab.run("systemctl", "is-failed", f"{unit}.mount", check=False).returncode != 0

    fstab.run("ls", ON_DEMAND)
    with fstab.running("sh", "-c", f"cd {ON_DEMAND}/Library && exec sleep 60"):
        time.sleep(0.5)
        fstab.run("systemctl", "stop", f"{unit}.mount")
        assert not mounted(fstab, ON_DEMAND)
        wait_until(lambda: not daemons(fstab))
        assert "Library" in fstab.run("ls", ON_DEMAND, user="me").stdout
        fstab.run("systemctl", "stop", f"{unit}.mount", f"{unit}.automount")
