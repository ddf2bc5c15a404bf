"""Photos that iCloud tells little of, through a real mount."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tests.scratch import wait_until
from tests.whole.library import MAY_2020, Library

Phone = Callable[..., Any]


def state(path: object) -> str:
    return os.getxattr(str(path), "user.icloudfs.state").decode()


def test_a_file_whose_size_is_told_as_0_has_its_own_and_is_verified(
    following: Library, phone: Phone
) -> None:
    forms = {"resOriginalRes": {"size": 0}, "resOriginalFileSize": None}
    added = phone("add_photo", kind="jpeg", taken=MAY_2020, master_forms=forms)
    path, *_ = following.until_shown(added["asset"])
    truth = following.truth(path)
    before = path.stat().st_size
    assert before == len(truth) > 0
    assert state(path) == "remote"

    assert path.read_bytes() == truth

    assert path.stat().st_size == before
    wait_until(lambda: state(path) == "cached")
    assert "were looked at" not in following.icloudfs("verify", "--checksums").stdout
    assert "Only their sizes were looked at" in following.icloudfs("verify").stdout


def test_a_preview_is_read_in_the_place_of_an_original(following: Library, phone: Phone) -> None:
    forms = {"resOriginalRes": None}
    added = phone("add_photo", kind="heic", taken=MAY_2020, master_forms=forms)
    path, *_ = following.until_shown(added["asset"])
    assert path.name.endswith("-preview.JPG")
    content = path.read_bytes()
    assert content == following.truth(path)
    assert content.startswith(b"\xff\xd8")
    wait_until(lambda: state(path) == "cached")


def test_the_video_of_an_edited_live_photo_lies_beside_its_picture(
    following: Library, phone: Phone
) -> None:
    added = phone("add_photo", kind="live", taken=MAY_2020, edited=True)
    following.until_shown(added["asset"])
    files = {path.name: path for path in following.files_of(added["asset"], "Library")}
    stem = min(files, key=len).partition(".")[0]
    assert set(files) == {
        f"{stem}.HEIC",
        f"{stem}.MOV",
        f"{stem}-edited.HEIC",
        f"{stem}-edited.MOV",
    }
    video = files[f"{stem}-edited.MOV"]
    assert video.read_bytes() == following.truth(video) != files[f"{stem}.MOV"].read_bytes()
    assert os.getxattr(video, "user.icloudfs.duration") == b"1.200"


def test_status_names_a_photo_that_there_is_no_file_of(following: Library, phone: Phone) -> None:
    forms = {"resOriginalRes": None, "resJPEGMedRes": None, "resJPEGThumbRes": None}
    kinds = {"kind": "jpeg", "filename": "LOST.JPG", "taken": MAY_2020}
    added = phone("add_photo", master_forms=forms, **kinds)
    after = phone("add_photo", kind="jpeg", taken=MAY_2020)
    following.until_shown(after["asset"])

    told = following.status("--failed")
    assert told["assets"]["without_file"] == told["assets"]["failed"] == 1
    (missing,) = told["without_file"]
    assert (missing["asset"], missing["filename"]) == (added["asset"], "LOST.JPG")
    (listed,) = told["listed"]
    assert (listed["filename"], listed["last_error"]) == ("LOST.JPG", missing["reason"])
    text = following.icloudfs("status").stdout
    assert "No file     iCloud has none of 1 photos: LOST.JPG (status --failed)" in text
    assert "LOST.JPG\tiCloud has no file" in following.icloudfs("status", "--failed").stdout
