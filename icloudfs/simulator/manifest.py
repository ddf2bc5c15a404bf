"""The truth about the library, for comparison with what a client makes of it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from icloudfs.simulator.cloud import Cloud
from icloudfs.simulator.message import Json
from icloudfs.simulator.rows import ROOT_FOLDER, SHARE_RECORD, Album, Asset, Resource, Share
from icloudfs.simulator.zone import INDEXES, Zone

_MASTER_RENDITIONS = {
    "resOriginal": "original",
    "resOriginalAlt": "alternate",
    "resOriginalVidCompl": "live",
}
_ASSET_RENDITIONS = {
    "resJPEGFull": "edited",
    "resVidFull": "edited-video",
    "resVidCompl": "edited-live",
}
_SMALL = {"resJPEGMed": "medium", "resJPEGThumb": "thumb"}
_CLASSES = {
    "FAVORITE": "favorite",
    "VIDEO": "video",
    "SLOMO": "slo-mo",
    "TIMELAPSE": "time-lapse",
    "PANORAMA": "panorama",
    "SCREENSHOT": "screenshot",
    "LIVE": "live",
    "DEPTH": "portrait",
    "EXPOSURE": "long-exposure",
    "ANIMATED": "animated",
}


_LINES_AT_ONCE = 500


def lines(cloud: Cloud) -> Iterator[bytes]:
    """One line of JSON for each asset of every photo library, several hundred at a time."""
    albums = _memberships(cloud)
    for zone in list(cloud.zones()):
        if not zone.photos:
            continue
        assets = list(zone.assets())
        for begin in range(0, len(assets), _LINES_AT_ONCE):
            some = assets[begin : begin + _LINES_AT_ONCE]
            yield b"".join(
                msgspec.json.encode(entry(zone, asset, albums.get((zone.name, asset.name), [])))
                + b"\n"
                for asset in some
            )


def entry(zone: Zone, asset: Asset, albums: list[list[str]]) -> Json:
    """One asset. ``albums`` are paths of titles, outermost folder first."""
    master = zone.master(asset.master)
    renditions = _named(master.resources if master else (), _MASTER_RENDITIONS)
    renditions += _named(asset.resources, _ASSET_RENDITIONS)
    small = _named(asset.resources, _SMALL) or _named(master.resources if master else (), _SMALL)
    shown = master is not None and master.filename_form != "missing"
    return {
        "zone": zone.name,
        "area": zone.area,
        "asset": asset.name,
        "master": asset.master,
        "filename": master.filename if master and shown else "",
        "uti": master.uti if master and not master.uti_missing else "",
        "taken": asset.taken,
        "added": asset.added,
        "created": asset.created,
        "modified": asset.modified,
        "time_zone_offset": asset.offset,
        "visible": INDEXES["all"](asset) is not None,
        "hidden": bool(asset.hidden),
        "deleted": asset.deleted,
        "favorite": bool(asset.favorite),
        "classes": [
            label
            for index, label in _CLASSES.items()
            if index != "FAVORITE" and INDEXES[index](asset) is not None
        ],
        "burst": asset.burst,
        "burst_pick": bool(asset.burst) and asset.stands_alone,
        "adjustment": asset.adjustment,
        "caption": asset.caption,
        "keywords": list(asset.keywords),
        "albums": sorted(albums),
        "renditions": renditions,
        "small": small,
    }


def counts(cloud: Cloud) -> Json:
    """How many assets each index of each photo library holds."""
    return {
        zone.name: {index: len(zone.ranked(index)) for index in INDEXES}
        | {"assets": sum(1 for _ in zone.assets())}
        for zone in cloud.zones()
        if zone.photos
    }


def albums(cloud: Cloud) -> list[Json]:
    """Every album and folder that is there, with its path."""
    return [
        {
            "zone": zone.name,
            "album": album.name,
            "kind": album.kind,
            "path": path,
            "members": [relation.asset for relation in zone.relations(album.name)],
        }
        for zone in cloud.zones()
        for album in zone.albums()
        if album.title and (path := _path(zone, album)) is not None
    ]


def shared_albums(cloud: Cloud) -> list[Json]:
    """Every shared album that can be read, with the photos in it, as they were added.

    ``kind`` is ``modern`` or ``legacy``; ``album`` the name of the zone or the ``albumguid``; ``area`` the
    database, '' where there is none.
    """
    modern = [
        {
            "kind": "modern",
            "album": zone.name,
            "area": zone.area,
            "title": share.title,
            "owner": zone.owner,
            "mine": zone.owner == cloud.owner,
            "people": list(share.people),
            "photos": _shared_photos(zone),
        }
        for zone in cloud.zones()
        if not zone.closed and isinstance(share := zone.rows.get(SHARE_RECORD), Share)
    ]
    legacy = [
        {
            "kind": "legacy",
            "album": stream.guid,
            "area": "",
            "title": stream.title,
            "owner": stream.owner,
            "mine": stream.mine,
            "people": [],
            "photos": _shared_photos(stream.records),
        }
        for stream in cloud.streams.values()
    ]
    return modern + legacy


def _shared_photos(zone: Zone) -> list[Json]:
    return [
        {**entry(zone, asset, []), "contributor": asset.contributor}
        for asset in zone.assets()
        if not asset.deleted
    ]


def _memberships(cloud: Cloud) -> dict[tuple[str, str], list[list[str]]]:
    """The albums of every photo, by zone and asset. One that is moved leaves its albums with it."""
    found: dict[tuple[str, str], list[list[str]]] = {}
    for zone in cloud.zones():
        for album in zone.albums():
            path = _path(zone, album)
            if path is None or album.kind == 3:
                continue
            visible = {asset.name: home for home, asset in cloud.members(zone, album.name)}
            for relation in zone.relations(album.name):
                home = visible.get(relation.asset, zone)
                found.setdefault((home.name, relation.asset), []).append(path)
    return found


def _path(zone: Zone, album: Album) -> list[str] | None:
    """The titles from the top down; None if it, or a folder around it, is deleted."""
    titles: list[str] = []
    at: Album | None = album
    while at is not None:
        if at.deleted:
            return None
        titles.append(at.title)
        if at.parent == ROOT_FOLDER:
            break
        above = zone.rows.get(at.parent)
        if not isinstance(above, Album):
            return None
        at = above
    return titles[::-1]


def _named(resources: tuple[Resource, ...], names: dict[str, str]) -> list[Json]:
    return [
        {
            "rendition": names[resource.prefix],
            "uti": resource.uti,
            "checksum": resource.blob.checksum,
            "size": resource.blob.size,
            "width": resource.width,
            "height": resource.height,
        }
        for resource in resources
        if resource.prefix in names
    ]
