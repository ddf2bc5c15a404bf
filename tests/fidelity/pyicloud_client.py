"""One run of pyicloud, in the clients' own environment: what it sees goes to standard output as JSON.

It imports nothing of icloudfs and changes nothing in pyicloud: where Apple is, ``HTTPS_PROXY`` and
``REQUESTS_CA_BUNDLE`` say, which pyicloud obeys for every call, the second factor included.

    pyicloud_client.py sign-in FOLDER APPLE_ID PASSWORD CODE ...
    pyicloud_client.py show FOLDER APPLE_ID PASSWORD
    pyicloud_client.py changes FOLDER APPLE_ID PASSWORD
    pyicloud_client.py download FOLDER APPLE_ID PASSWORD TARGET

``FOLDER`` keeps the session between runs. Every CODE is tried, up to the first that is accepted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyicloud import PyiCloudService  # type: ignore[import-not-found]

Json = dict[str, Any]

SMALL = ("medium", "thumb", "medium_image", "thumb_image", "medium_video", "thumb_video")
"""Previews: listed, never downloaded."""
EVERYTHING = ("Library", "Bursts", "Hidden", "Recently Deleted")
"""The albums that together hold every photo of a library, if pyicloud offers them there."""


def sign_in(service: Any, *codes: str) -> Json:
    """Give the second factor, and say what pyicloud made of each code."""
    asked = bool(service.requires_2fa)
    answers: list[Json] = []
    for code in codes:
        accepted = bool(service.validate_2fa_code(code))
        answers.append({"code": code, "accepted": accepted})
        if accepted:
            break
    return {"second_factor": asked, "codes": answers, "trusted": bool(service.is_trusted_session)}


def show(service: Any) -> Json:
    """Every library, album and photo, without a download."""
    libraries = service.photos.libraries
    return {
        "second_factor": bool(service.requires_2fa),
        "trusted": bool(service.is_trusted_session),
        "libraries": {key: _library(libraries[key]) for key in _photo_libraries(libraries)},
        "others": [key for key in libraries if key not in _photo_libraries(libraries)],
    }


def shared_albums(service: Any, target: str) -> Json:
    """Every shared album of the older kind, and the original of each of its photos in ``target``."""
    return {
        "albums": [
            {
                "album": album.id,
                "name": album.name,
                "sharing": album.sharing_type,
                "count": len(album),
                "files": [
                    _downloaded(photo, "original", Path(target, f"{at}-{number}"))
                    for number, photo in enumerate(album.photos)
                ],
            }
            for at, album in enumerate(service.photos.libraries["shared"].albums)
        ]
    }


def changes(service: Any) -> Json:
    """The whole history of the personal library, and what came after it."""
    cursor = service.photos.sync_cursor()
    return {
        "history": [_change(change) for change in service.photos.iter_changes()],
        "since": [_change(change) for change in service.photos.iter_changes(since=cursor)],
    }


def download(service: Any, target: str) -> Json:
    """Write every version that is no preview into ``target``."""
    libraries = service.photos.libraries
    files = [
        _downloaded(photo, version, Path(target, f"{key}-{number}-{version}"))
        for key in _photo_libraries(libraries)
        for number, photo in enumerate(_all_photos(libraries[key]))
        for version in photo.versions
        if version not in SMALL
    ]
    return {"second_factor": bool(service.requires_2fa), "files": files}


def _photo_libraries(libraries: Any) -> list[str]:
    """Those with photos: pyicloud also lists shared albums of either kind, and zones of other programs."""
    return [key for key in libraries if key == "root" or key.startswith("shared:SharedSync-")]


def _all_photos(library: Any) -> Iterator[Any]:
    albums = filter(None, map(library.albums.get, EVERYTHING))
    photos = {photo.id: photo for album in albums for photo in album.photos}
    yield from photos.values()


def _library(library: Any) -> Json:
    return {"albums": [_album(album) for album in library.albums]}


def _album(album: Any) -> Json:
    kind = type(album).__name__
    is_folder = kind == "PhotoAlbumFolder"
    return {
        "album": album.id,
        "kind": kind,
        "name": album.name,
        "path": album.fullname,
        "count": 0 if is_folder else len(album),
        "photos": [] if is_folder else [_photo(photo) for photo in album.photos],
    }


def _photo(photo: Any) -> Json:
    return {
        "asset": photo.id,
        "master": photo.master_id,
        "filename": photo.filename,
        "size": photo.size,
        "created": photo.created.timestamp(),
        "asset_date": photo.asset_date.timestamp(),
        "added_date": photo.added_date.timestamp(),
        "live": photo.is_live_photo,
        "versions": {
            key: {name: version[name] for name in ("filename", "size", "type", "checksum")}
            for key, version in photo.versions.items()
        },
    }


def _change(change: Any) -> Json:
    return {"record": change.record_name, "type": change.record_type, "kind": change.kind}


def _downloaded(photo: Any, version: str, target: Path) -> Json:
    content = photo.download(version)
    assert content is not None, f"pyicloud has no address for {photo.filename} {version}"
    target.write_bytes(content)
    return {"asset": photo.id, "version": version, "path": str(target)}


_COMMANDS: dict[str, Callable[..., Json]] = {
    "sign-in": sign_in,
    "show": show,
    "changes": changes,
    "download": download,
    "shared-albums": shared_albums,
}


def main(command: str, folder: str, apple_id: str, password: str, *arguments: str) -> None:
    service = PyiCloudService(
        apple_id, password, cookie_directory=folder, with_family=False, refresh_interval=None
    )
    json.dump(_COMMANDS[command](service, *arguments), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
