"""Boot and shutdown. Last, since they are everybody's."""

from __future__ import annotations

import time

from tests.systemd.machine import Machine
from tests.systemd.photos import OfServer, OfUser, Photos


def _at(machine: Machine, unit: str, name: str) -> int:
    """When something happened to a unit, µs since the boot."""
    return int(machine.run("systemctl", "show", "-p", name, "--value", unit).stdout)


def test_log_out_with_open_files_and_a_download(user: OfUser, notes: list[str]) -> None:
    machine, photo = user.machine, user.photos()[9]
    user.cloud.freeze()
    try:
        with machine.running("sh", "-c", f"cd {user.folder} && exec cat {photo}", user="me"):
            time.sleep(0.5)
            began = time.monotonic()
            machine.run("systemctl", "stop", f"user@{machine.uid('me')}")
            seconds = time.monotonic() - began
    finally:
        user.cloud.thaw()
    assert seconds < 15
    assert not user.is_mounted
    notes.append(f"log-out with open files and a download under way: {seconds:.2f} s")
    machine.run("systemctl", "start", f"user@{machine.uid('me')}")
    user.start()
    assert user.read(photo)[0] == 0
    assert " 0 missing, 0 of wrong size, 0 damaged" in user.icloudfs(
        "verify", "--checksums", check=False
    )


def test_everything_is_there_after_boot(user: OfUser, server: OfServer, notes: list[str]) -> None:
    """Shut down in use, with a download under way, and booted without a network: iCloud does not run."""
    machine = server.machine
    user.systemctl("enable", user.unit)
    server.systemctl("enable", server.unit)
    machine.run("systemctl", "enable", r"srv-on\x2ddemand.automount")
    cached, remote = server.photos()[10:12]
    digests = {photos.unit: photos.read(_in(photos, cached)) for photos in (user, server)}
    server.cloud.freeze()
    with machine.running("cat", remote), machine.running("tail", "-f", cached, user="me"):
        time.sleep(0.5)
        seconds = machine.shut_down()
    notes.append(f"shutdown in use with a download under way: {seconds:.2f} s")
    assert seconds < 30

    machine.boot()

    for photos in (user, server):
        photos.until_active()
        assert "Library" in photos.views()
        assert photos.read(_in(photos, cached)) == digests[photos.unit]
        photos.until_status("^no network, what is cached can be read")
    order = "ActiveEnterTimestampMonotonic"
    network = _at(machine, "network-online.target", order)
    assert 0 < network <= _at(machine, server.unit, "ExecMainStartTimestampMonotonic")
    ready = _at(machine, server.unit, order) / 1e6
    notes.append(
        f"a server's folder is ready {ready - network / 1e6:.2f} s after network-online.target"
    )
    assert _at(machine, r"srv-on\x2ddemand.automount", order) > 0

    server.cloud.start()
    # This iCloud has forgotten all sessions, as Apple does in a month.
    for photos in (user, server):
        photos.until_status("^sign in again: icloudfs login", 60)
        photos.login()
        photos.until_synced(30)
    assert server.read(remote)[0] == 0


def test_uninstalled(of_user: OfUser, of_server: OfServer) -> None:
    machine = of_server.machine
    of_user.systemctl("disable", "--now", of_user.unit)
    of_server.systemctl("disable", "--now", of_server.unit)
    assert "Removed /home/me/.config/systemd/user/icloudfs@.service." in of_user.icloudfs(
        "install-units", "--undo"
    )
    machine.run("/opt/icloudfs/bin/icloudfs", "install-units", "--system", "--undo")
    for path in ("sbin/mount.icloudfs", "etc/systemd/system/icloudfs@.service"):
        assert not (machine.root / path).is_symlink() and not (machine.root / path).exists()


def _in(photos: Photos, path: str) -> str:
    """The same photo in this folder."""
    return photos.folder + path.removeprefix("/srv/photos")
