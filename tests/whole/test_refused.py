"""What iCloud refuses costs nothing else: the command says "in part", and ``status`` what and since when."""

from __future__ import annotations

import json
import time

import pytest

from icloudfs.errors import Incomplete
from tests.scratch import wait_until
from tests.whole.library import INTERVAL, Library
from tests.whole.local_icloud import LocalICloud

IN_PART = Incomplete.exit_code


@pytest.fixture
def unlisted(stranger: Library, signed_in: Library) -> Library:
    """Signed in, and nothing else."""
    stranger.take_state_of(signed_in)
    return stranger


@pytest.mark.parametrize("way", ["403", "404", "no-list"])
def test_a_refused_list_costs_nothing_else(
    unlisted: Library, icloud: LocalICloud, way: str
) -> None:
    """Everything else is listed and downloaded; and it is whole once the list is given."""
    library = unlisted
    before = time.time()
    for call in ("albums", "list:hidden"):
        icloud.control.set_fault("*", "answer", call=call, zone="PrimarySync", way=way)

    done = library.icloudfs("sync", "--mirror", "favorites", check=False)

    assert done.returncode == IN_PART
    assert "the list of albums of PrimarySync" in done.stderr and "Traceback" not in done.stderr
    assert "A later sync asks for it again, a mounted library by itself" in done.stderr
    assert "icloudfs status" in done.stderr
    assert "files downloaded" in done.stdout
    told = library.status()
    refused = {part["part"]: part for part in told["refused"] if not part["harmless"]}
    assert refused.keys() == {"albums", "list:HIDDEN"}
    for part in refused.values():
        assert before <= part["since"] <= time.time() < part["next_at"]
        assert part["tries"] == 1 and part["code"] and part["zone"] == "PrimarySync"
    assert all(zone["listed"] and zone["has_token"] for zone in told["zones"])
    assert len(told["runs"][0]["refused"]) == 2 and not told["runs"][0]["interrupted"]
    text = library.icloudfs("status").stdout
    assert "Refused     the list of albums of PrimarySync" in text and "since" in text
    with library.database() as state:
        (names,) = state.execute("SELECT refused FROM sync_runs ORDER BY id DESC").fetchone()
        assert "the list of hidden photos" in names

    listed = library.icloudfs("list", check=False)
    assert listed.returncode == IN_PART and "the list of albums of PrimarySync" in listed.stderr
    assert isinstance(json.loads(library.icloudfs("list", "--json", check=False).stdout), list)

    icloud.control.clear_faults()
    library.sync()  # by hand: no pause is waited for
    assert "Holidays/Japan" in library.icloudfs("list").stdout
    assert not [part for part in library.status()["refused"] if not part["harmless"]]


def test_refused_records_are_counted(library: Library, icloud: LocalICloud) -> None:
    icloud.control.set_fault("changes", "record-error", times=1, code="ACCESS_DENIED")
    icloud.control.set_fault("lookup", "record-error", code="ACCESS_DENIED")
    icloud.control.phone("add_photo", kind="jpeg")

    done = library.icloudfs("sync", "--mirror", "demand", check=False)

    assert done.returncode == IN_PART and "1 single record" in done.stderr
    assert library.status()["refused_records"] == 1
    assert "Refused     1 single record" in library.icloudfs("status").stdout
    icloud.control.clear_faults()
    library.sync()
    assert library.status()["refused_records"] == 0


def test_a_shared_area_that_was_never_given_is_no_failure(
    unlisted: Library, icloud: LocalICloud
) -> None:
    path = "shared/changes/database"
    icloud.control.set_fault("changes", "status", status=403, path=path)
    unlisted.sync()
    parts = [p for p in unlisted.status()["refused"] if p["area"] == "shared" and not p["zone"]]
    assert len(parts) == 1 and parts[0]["harmless"]
    assert "no failure" in unlisted.icloudfs("status").stdout


def test_a_mount_goes_on_and_says_so(library: Library, icloud: LocalICloud) -> None:
    icloud.control.set_fault("*", "answer", call="changes/zone", way="403", zone="PrimarySync")
    photo = icloud.control.phone("add_photo", kind="jpeg")
    assert photo
    library.mount("--interval", str(INTERVAL))

    def is_named() -> bool:
        return "changes" in {part["part"] for part in library.status()["refused"]}

    wait_until(is_named, 60)
    assert library.uncached(at_least=1000).read_bytes(), "and photos are downloaded"
    assert not library.status()["now"]["sign_in_needed"]
