"""Files that are none of a mount's are drawn by whoever would have drawn them without us."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from icloudfs.desktop import installing, thumbnailer

_ENTRY = "[Thumbnailer Entry]\nTryExec={program}\nExec={program} --size=%s %s %i %u %o\nMimeType={types}\n"


def _add_entry(folder: Path, name: str, types: str, program: Path | None = None) -> None:
    """Another thumbnailer, which writes down what it was asked for."""
    if program is None:
        program = folder / f"{name}-program"
        program.write_text('#!/bin/sh\nfor last; do :; done; echo "$0" "$@" >"$last"\n')
        program.chmod(0o755)
    place = folder / "thumbnailers" / f"{name}.thumbnailer"
    place.parent.mkdir(exist_ok=True)
    place.write_text(_ENTRY.format(program=program, types=types))


def _asked(folder: Path, source: Path) -> str:
    """What the other program was told to do, as ``icloudfs-thumbnailer`` is run by a file manager."""
    target = folder / "out.png"
    subprocess.run(
        [sys.executable, "-I", thumbnailer.__file__, "128", source, target],
        check=True,
        env={"XDG_DATA_DIRS": f"{folder}/none:{folder}", "PATH": "/usr/bin:/bin"},
    )
    return target.read_text()


def test_the_systems_own_program_is_asked(tmp_path: Path) -> None:
    _add_entry(tmp_path, "a-broken", "image/heif;", tmp_path / "not-installed")
    _add_entry(tmp_path, "b-ours", "image/heif;", tmp_path / thumbnailer.NAME)
    (tmp_path / thumbnailer.NAME).write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / thumbnailer.NAME).chmod(0o755)
    _add_entry(tmp_path, "c-video", "video/mp4;video/quicktime;")
    _add_entry(tmp_path, "d-heif", "image/avif;image/heif;")
    (tmp_path / "thumbnailers" / "e.thumbnailer").write_bytes(b"\xff no key file")
    photo, film = tmp_path / "my photo.HEIC", tmp_path / "film.mov"
    photo.touch()
    film.touch()

    said = _asked(tmp_path, photo)
    assert said == (
        f"{tmp_path}/d-heif-program --size=%s 128 {photo} {photo.as_uri()} {tmp_path}/out.png\n"
    )
    assert _asked(tmp_path, film).startswith(f"{tmp_path}/c-video-program")


def test_with_what_this_machine_has_it_is_drawn(tmp_path: Path) -> None:
    source, target = tmp_path / "a.jpg", tmp_path / "out.png"
    Image.new("RGB", (400, 300)).save(source)
    subprocess.run(
        [sys.executable, "-I", thumbnailer.__file__, "128", source, target],
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert Image.open(target).size == (128, 96)


@pytest.mark.parametrize("type_", installing._MIME_TYPES)
def test_every_kind_that_we_are_asked_for_is_known(type_: str) -> None:
    assert any(type_ in types.split() for types in thumbnailer.TYPES.values())
