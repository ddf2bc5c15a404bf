"""The services: from their start to a listed folder, and whatever may end them."""

from __future__ import annotations

import json
import re
import time
from functools import partial

from icloudfs.apple.network import UNACKNOWLEDGED
from tests.scratch import wait_until
from tests.systemd.machine import Machine
from tests.systemd.photos import OfServer, OfUser, Photos

_PROMPTLY = 15.0
"""Seconds within which a service that ended is mounted again: two until its new start, and the start."""


def test_a_started_service_is_a_listed_folder(of_user: OfUser, notes: list[str]) -> None:
    assert "Wrote /home/me/.config/systemd/user/icloudfs@.service." in of_user.said
    seconds = of_user.start()
    wait_until(lambda: {"Library", "Albums"} <= set(of_user.views()))
    notes.append(f"a user's service, first start to ready: {seconds:.2f} s")

    of_user.until_status(r"^\d+ photos, as iCloud had them at ")
    shown = of_user.systemctl("status", of_user.unit)
    notes.extend(line.rstrip() for line in shown.splitlines()[:10])
    assert re.search(r'Status: "\d+ photos, as iCloud had them at .+"', shown)

    assert of_user.stop() < 5
    assert not of_user.is_mounted
    notes.append(f"… second start: {of_user.start():.2f} s")
    of_user.as_before()


def test_everybody_looks_into_that_of_a_server(server: OfServer) -> None:
    assert "Library" in server.views("me")
    photo = server.photos()[0]
    assert (
        server.machine.run("sha256sum", photo, user="me").stdout.split()[0] == server.read(photo)[1]
    )
    assert "up to 256 reads may wait at once" in server.machine.journal("--unit", server.unit)
    # Nothing that decodes and checks pictures is in the way of what keeps the service in.
    look = "import os, sys; print(len(os.getxattr(sys.argv[1], 'user.icloudfs.thumbnail')))"
    assert int(server.machine.run("python3", "-c", look, photo, user="me").stdout) > 1000
    refused = server.machine.run("touch", f"{server.folder}/x", check=False)
    assert "Read-only" in refused.stderr
    # A user of its own, with what mounting takes and nothing else.
    status = server.machine.run("cat", f"/proc/{server.main}/status").stdout
    uid = server.machine.uid("icloudfs")
    assert f"Uid:\t{uid}\t{uid}" in status
    assert f"CapBnd:\t{1 << 21:016x}" in status
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status


def test_what_systemd_thinks_of_the_units(server: OfServer, user: OfUser, notes: list[str]) -> None:
    for words, unit in (
        ((), "/etc/systemd/system/icloudfs@.service"),
        ((), "/etc/systemd/system/srv-on\\x2ddemand.mount"),
        ((), "/etc/systemd/system/srv-on\\x2ddemand.automount"),
        (("--user",), "/home/me/.config/systemd/user/icloudfs@.service"),
    ):
        who = "me" if words else "root"
        verified = server.machine.run("systemd-analyze", *words, "verify", unit, user=who)
        assert verified.stdout + verified.stderr == ""
    overall = server.machine.run("systemd-analyze", "security", "--no-pager", server.unit).stdout
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", overall)
    assert exposure is not None
    assert float(exposure[1]) < 4.5
    notes.append(f"exposure of a server's service: {exposure[1]}")


def test_stopped_in_use(user: OfUser, server: OfServer, notes: list[str]) -> None:
    for photos in (user, server):
        photo = photos.photos()[0]
        with (
            photos.machine.running("tail", "-f", photo, user=photos.user),
            photos.machine.running("sh", "-c", f"cd {photos.folder} && exec sleep 60"),
        ):
            time.sleep(0.5)
            seconds = photos.stop()
        assert seconds < 10
        assert not photos.is_mounted
        assert photos.shown("Result") == "success"
        notes.append(f"{photos.unit}, stopped in use: {seconds:.2f} s")


def _until_back(photos: Photos, before: int) -> float:
    began = time.monotonic()
    wait_until(lambda: photos.main not in (0, before), _PROMPTLY)
    photos.until_active(_PROMPTLY)
    assert "Library" in photos.views()
    return time.monotonic() - began


def test_killed(user: OfUser, server: OfServer, notes: list[str]) -> None:
    for photos in (user, server):
        before = photos.main
        photo = photos.photos()[1]
        digest = photos.read(photo)
        photos.machine.run("kill", "-KILL", str(before))
        seconds = _until_back(photos, before)
        assert photos.read(photo) == digest
        assert photos.shown("NRestarts") == "1"
        notes.append(f"{photos.unit}, killed: listed again after {seconds:.2f} s")


def test_stuck(of_user: OfUser, of_server: OfServer, notes: list[str]) -> None:
    both: tuple[Photos, ...] = (of_user, of_server)
    try:
        for photos in both:
            photos.drop_in("[Service]\nWatchdogSec=2\n")
            photos.start()
        before = [photos.main for photos in both]
        time.sleep(5)  # a watchdog that bites the living would have by now
        assert [photos.main for photos in both] == before

        for photos, main in zip(both, before, strict=True):
            photos.machine.run("kill", "-STOP", str(main))
            seconds = _until_back(photos, main)
            assert seconds >= 1
            logged = photos.machine.journal("--identifier=systemd", "--lines=all")
            assert f"{photos.unit}: Watchdog timeout" in logged
            notes.append(
                f"{photos.unit}, stuck: listed again after {seconds:.2f} s of a watchdog of 2 s"
            )
    finally:
        for photos in both:
            photos.as_before()


def test_frozen_and_thawed(user: OfUser, server: OfServer) -> None:
    """As near to sleep as a container comes: it is stopped in the middle of a download, then goes on."""
    photo = server.photos()[2]
    server.cloud.freeze()
    with server.machine.running("sha256sum", photo, user="me") as printed:
        time.sleep(0.5)
        for photos in (user, server):
            photos.systemctl("freeze", photos.unit, check=False)
        time.sleep(2)
        for photos in (user, server):
            photos.systemctl("thaw", photos.unit, check=False)
        server.cloud.thaw()
        digest = server.machine.ends(printed, 40).split()[0]
    assert digest == server.read(photo)[1]
    assert server.shown("NRestarts") == "0"


def _synced_in_hour(photos: Photos, later: int) -> bool:
    """Whether it says so, in the hour that is ``later`` than ours."""
    hour = time.strftime("%H:", time.gmtime(time.time() + later * 3600))
    return f" photos, as iCloud had them at {hour}" in photos.status


def _found(photos: Photos, name: str) -> str:
    """The path of a photo; empty if it is not there."""
    find = ("find", photos.folder, "-name", name, "-print", "-quit")
    return photos.machine.run(*find, user=photos.user).stdout.strip()


def test_a_clock_that_jumps(of_user: OfUser) -> None:
    """Half a day on, then back to yesterday, as when a battery was empty: nothing waits for a time that was."""
    machine, hours = of_user.machine, "/run/hours"
    (library,) = (machine.root / "usr/lib").glob("*/faketime/libfaketime.so.1")
    machine.write(hours, "+0h")
    of_user.drop_in(
        "[Service]\n"
        "WatchdogSec=2\n"
        f"Environment=LD_PRELOAD=/{library.relative_to(machine.root)}\n"
        f"Environment=FAKETIME_TIMESTAMP_FILE={hours} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1\n"
    )
    of_user.start()
    try:
        of_user.until_synced()
        main = of_user.main
        for jump in (12, -24):
            machine.write(hours, f"{jump:+}h")
            wait_until(partial(_synced_in_hour, of_user, jump), 20)
            name = f"JUMP{jump}.JPG"
            of_user.cloud.take_photo(name)
            wait_until(partial(_found, of_user, name), 15)
            assert of_user.read(_found(of_user, name))[0] == 0
        assert of_user.main == main
        assert of_user.shown("NRestarts") == "0"
    finally:
        of_user.as_before()


def test_a_network_that_goes_and_comes(server: OfServer) -> None:
    machine, main = server.machine, server.main
    photos = server.photos()
    cached, remote = photos[3], photos[4]
    digest = server.read(cached)
    server.until_synced()
    machine.run("ip", "link", "set", "lo", "down")
    try:
        # Its connections stand and say nothing: the kernel gives them up, long before a read would.
        began = time.monotonic()
        assert server.read(remote, check=False)[0] != 0
        assert time.monotonic() - began < 2 * UNACKNOWLEDGED
        server.until_status("^no network, what is cached can be read", 60)
        assert server.read(cached) == digest
        for _ in range(2):
            began = time.monotonic()
            assert server.read(remote, check=False)[0] != 0
            assert time.monotonic() - began < 2
        assert server.photos() == photos
    finally:
        machine.run("ip", "link", "set", "lo", "up")
    wait_until(lambda: server.read(remote, check=False)[0] == 0, 30)
    server.until_synced(30)
    assert server.main == main


def test_what_the_journal_keeps(user: OfUser, machine: Machine) -> None:
    user.stop()
    found = [
        json.loads(line)
        for line in machine.journal("--output=json", f"_UID={machine.uid('me')}").splitlines()
    ]
    events = {record["ICLOUDFS_EVENT"]: record for record in found if "ICLOUDFS_EVENT" in record}
    assert {"mounted", "unmounted", "sync.done"} <= set(events)
    mounted = events["mounted"]
    assert mounted["PRIORITY"] == "6"
    assert mounted["SYSLOG_IDENTIFIER"] == "icloudfs"
    assert mounted["_TRANSPORT"] == "journal"
    assert mounted["_SYSTEMD_USER_UNIT"] == user.unit
    assert mounted["MESSAGE"] == f"mounted icloudfs:alice@example.com on {user.folder}"
    assert mounted["MESSAGE_ID"] != events["unmounted"]["MESSAGE_ID"]
