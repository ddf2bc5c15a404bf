"""The generated library: several years of photos, and every oddity that a real one has.

Everything follows from the plan: the same plan gives the same records and the same bytes in any
process. ``assets`` counts the CPLAssets of the personal library, hidden and deleted ones and the frames
of bursts included.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace as _with

from icloudfs.apple.wire import PRIMARY_ZONE, SHARED_ZONE_PREFIX
from icloudfs.simulator.camera import EXTENSIONS, Camera, Kind, Moment, Shot
from icloudfs.simulator.cloud import Cloud
from icloudfs.simulator.rows import (
    NOT_PICKED,
    PICKED,
    PROJECT_ROOT_FOLDER,
    ROOT_FOLDER,
    Album,
    Asset,
    Forms,
    Master,
    NameForm,
    Other,
    Relation,
    Resource,
    int64,
    string,
)
from icloudfs.simulator.zone import Zone

DEFAULT_NOW = 1_793_534_400_000
"""2026-11-01 12:00 UTC, in milliseconds."""
_DAY = 86_400_000
_YEARS = 6 * 365 * _DAY
_DRAWN_UP_TO = 1000
_ODDITIES_FROM = 100
_SHARED_ASSETS = 12

SLOMO_EDIT = "com.apple.video.slomo"
SCREENSHOT_EDIT = "com.apple.ScreenshotServices"
PHOTO_EDIT = "com.apple.photo"
VIDEO_EDIT = "com.apple.video"


@dataclass(frozen=True)
class LibraryPlan:
    """What library to make."""

    assets: int = 300
    seed: int = 1
    now: int = DEFAULT_NOW
    """The moment the library ends at, in milliseconds since the epoch."""
    shared: str = "private"
    """The shared library: ``private`` (this account owns it), ``shared`` (another does), ``none``."""
    drawn: bool | None = None
    """Whether each picture shows its own number; by default up to a thousand assets."""
    oddities: bool | None = None
    """Whether to include what is rare; by default from a hundred assets on."""
    large_files: bool = True
    """Whether the oddities include two photos of 4 MB and videos of 8 and 40 MB."""
    extra_albums: int = 0
    """So many empty albums more: over 200 they take several pages."""
    empty_pages: int = 0
    """So many pages of superseded history at the beginning of the change log."""
    indexing: float = 0.0
    """Seconds for which Apple is still indexing it."""
    other_zones: bool = True
    """Whether there are zones that are no photo libraries."""
    shared_albums: int | None = None
    """So many of either kind, every second another's; by default two where there are oddities."""

    @property
    def with_oddities(self) -> bool:
        return self.assets >= _ODDITIES_FROM if self.oddities is None else self.oddities


@dataclass(frozen=True)
class Spec:
    """One photo to be made, as far as it is not ordinary."""

    kind: Kind = "heic"
    filename: str = ""
    """``IMG_nnnn`` and an extension if empty."""
    file: str = ""
    """Where the original lies on this machine, if it is not to be drawn. It must stay there."""
    name_form: NameForm = "bytes"
    uti_missing: bool = False
    taken: int | None = None
    """A moment in the plan's years if None."""
    undated: bool = False
    added: int | None = None
    offset: int = 0
    time_zone: str = "GMT"
    favorite: int | None = None
    hidden: int | None = None
    trashed_days_ago: int | None = None
    edited: bool = False
    render_type: int = 0
    burst: str = ""
    burst_flags: int = 0
    caption: str = ""
    description: str = ""
    keywords: tuple[str, ...] = ()
    latitude: float | None = None
    longitude: float | None = None
    contributor: str = ""
    forms: Forms = field(default_factory=dict)
    """Of the asset's fields."""
    master_forms: Forms = field(default_factory=dict)


_SUBTYPES: dict[str, int] = {"panorama": 1, "slomo": 100, "timelapse": 101}
_SUBTYPES_V2: dict[str, int] = {"live": 2, "screenshot": 3}

_ORDINARY: list[tuple[Kind, int]] = [
    ("heic", 40),
    ("jpeg", 20),
    ("live", 18),
    ("screenshot", 9),
    ("video", 5),
    ("portrait", 3),
    ("panorama", 2),
    ("slomo", 1),
    ("timelapse", 1),
    ("png", 1),
]
"""What a library is made of, in hundredths."""

_PLACES = [
    (3600, "Europe/Berlin", 52.52, 13.405),
    (7200, "Europe/Berlin", 52.52, 13.405),
    (0, "Europe/London", 51.507, -0.128),
    (-18000, "America/New_York", 40.713, -74.006),
    (32400, "Asia/Tokyo", 35.676, 139.65),
    (20700, "Asia/Kathmandu", 27.717, 85.324),
]


def build(plan: LibraryPlan) -> tuple[Cloud, Camera]:
    """The whole iCloud of a plan, and the camera that took it."""
    chance = random.Random(plan.seed)
    cloud = Cloud(plan.now, f"_{chance.getrandbits(128):032x}")
    drawn = plan.assets <= _DRAWN_UP_TO if plan.drawn is None else plan.drawn
    camera = Camera(cloud.storehouse, plan.seed, drawn=drawn)
    _Builder(plan, cloud, camera, chance).build()
    if plan.indexing:
        cloud.index_for(plan.indexing)
    return cloud, camera


class Developer:
    """Turns shots into records of a zone; the library's builder and the phone both use it."""

    def __init__(self, camera: Camera, chance: random.Random) -> None:
        self._camera = camera
        self._chance = chance
        self.taken_so_far = 0
        """How many shots there are: every shot gets the next number."""

    def uuid(self) -> str:
        """A record name like Apple's: an upper-case UUID."""
        h = f"{self._chance.getrandbits(128):032X}"
        return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-A{h[17:20]}-{h[20:]}"

    def develop(self, zone: Zone, spec: Spec, created: int) -> tuple[Master, Asset]:
        """Take the shot and put its master and asset into the zone."""
        self.taken_so_far += 1
        number = self.taken_so_far
        filename = spec.filename or f"IMG_{number % 10000:04}.{EXTENSIONS.get(spec.kind, 'HEIC')}"
        taken = created if spec.taken is None else spec.taken
        moment = Moment(taken, spec.offset, spec.latitude, spec.longitude)
        shot = self._camera.shoot(spec.kind, number, filename, moment)
        if spec.file:
            shot = self._camera.instead(shot, Path(spec.file))
        master = self._master(spec, shot, filename, taken, created)
        asset = self._asset(spec, shot, master, taken, created)
        if spec.edited:
            made = self._edited(shot.video, spec.kind == "live", number, filename, moment, 1)
            asset = _with(asset, adjustment=edit_of(video=shot.video), resources=made)
        elif spec.kind == "slomo":
            asset = _with(asset, adjustment=SLOMO_EDIT, resources=self.ramped(number, filename))
        zone.put(master)
        zone.put(asset)
        return master, asset

    def renditions(self, master: Master, taken: int, version: int) -> tuple[Resource, ...]:
        """The resources of a new edit of ``master``; 1000 and up tells them from the library's."""
        self.taken_so_far += 1
        live = any(resource.prefix == "resOriginalVidCompl" for resource in master.resources)
        return self._edited(
            master.video, live, self.taken_so_far, master.filename, Moment(taken), version
        )

    def ramped(self, number: int, filename: str) -> tuple[Resource, ...]:
        """What a device makes of a slow-motion video by itself."""
        return tuple(self._camera.ramped(number, filename))

    def _edited(
        self, video: bool, live: bool, number: int, label: str, moment: Moment, version: int
    ) -> tuple[Resource, ...]:
        camera = self._camera
        edit = camera.edited_movie if video else camera.edited_live if live else camera.edited
        return tuple(edit(number, label, moment, version))

    def _master(self, spec: Spec, shot: Shot, filename: str, taken: int, created: int) -> Master:
        return Master(
            name=shot.original.checksum,
            created=created,
            modified=created,
            filename=filename,
            filename_form=spec.name_form,
            uti=shot.uti,
            uti_missing=spec.uti_missing,
            resources=shot.resources,
            orientation=shot.orientation,
            taken=taken,
            video=shot.video,
            frame_rate=240 if spec.kind == "slomo" else 30 if shot.video else 0,
            deleted=spec.trashed_days_ago is not None,
            trashed=created if spec.trashed_days_ago is not None else 0,
            contributor=spec.contributor,
            forms=spec.master_forms,
        )

    def _asset(self, spec: Spec, shot: Shot, master: Master, taken: int, created: int) -> Asset:
        adjustment = SCREENSHOT_EDIT if spec.kind == "screenshot" else ""
        deleted = spec.trashed_days_ago is not None
        return Asset(
            name=self.uuid(),
            master=master.name,
            created=created,
            modified=created,
            taken=None if spec.undated else taken,
            added=created if spec.added is None else spec.added,
            offset=spec.offset,
            time_zone=spec.time_zone,
            favorite=spec.favorite,
            hidden=spec.hidden,
            deleted=deleted,
            trashed=created if deleted else 0,
            trash_reason=1 if deleted else None,
            subtype=_SUBTYPES.get(spec.kind, 0),
            subtype_v2=_SUBTYPES_V2.get(spec.kind, 0),
            burst=spec.burst,
            burst_flags=spec.burst_flags,
            adjustment=adjustment,
            render_type=spec.render_type or (2 if spec.kind == "portrait" else 0),
            orientation=shot.orientation,
            duration=shot.duration,
            clip=shot.clip,
            caption=spec.caption,
            description=spec.description,
            keywords=spec.keywords,
            latitude=spec.latitude,
            longitude=spec.longitude,
            video=shot.video,
            animated=shot.animated,
            contributor=spec.contributor,
            forms=spec.forms,
        )


def edit_of(*, video: bool) -> str:
    """``adjustmentType`` of what a person edits. That of a slow-motion video's ramps alone is another, which
    every one has from the beginning."""
    return VIDEO_EDIT if video else PHOTO_EDIT


def relation(asset: str, album: str, created: int, position: int) -> Relation:
    """A membership, named as Apple names it (facts/cloudkit.md §1.7)."""
    return Relation(
        name=f"{asset}-IN-{album}",
        created=created,
        modified=created,
        album=album,
        asset=asset,
        position=position,
    )


def library_info(zone: Zone, now: int) -> Other:
    """``PrimarySync-0000-LI``, the counters that come with every addition."""
    visible = len(zone.ranked("all"))
    counters = {"photosCount": int64(visible), "videosCount": int64(len(zone.ranked("VIDEO")))}
    name = f"{zone.name}-0000-LI"
    return Other(name=name, created=now, modified=now, type="CPLLibraryInfo", fields=counters)


class _Builder:
    def __init__(
        self, plan: LibraryPlan, cloud: Cloud, camera: Camera, chance: random.Random
    ) -> None:
        self._plan = plan
        self._cloud = cloud
        self._chance = chance
        self._developer = Developer(camera, chance)
        self._zone = cloud.private.add(Zone(PRIMARY_ZONE, cloud.owner, "private"))
        self._made: list[Asset] = []
        self._by_title: dict[str, Asset] = {}

    def build(self) -> None:
        if self._plan.empty_pages:
            self._zone.compact(self._plan.empty_pages)
        self._leave_traces()
        self._add_roots()
        specs = self._specs()
        for rank, spec in enumerate(specs):
            self._develop(spec, rank, len(specs))
        if self._plan.with_oddities:
            self._duplicate(self._made[0])
        self._add_albums()
        self._add_company()
        self._zone.put(library_info(self._zone, self._plan.now))
        self._add_shared_library()
        self._add_other_zones()
        self._share_into_albums()

    def _specs(self) -> list[Spec]:
        odd = oddities(self._plan) if self._plan.with_oddities else []
        ordinary = self._plan.assets - len(odd) - (1 if self._plan.with_oddities else 0)
        kinds = [kind for kind, weight in _ORDINARY for _ in range(weight)]
        specs = [self._ordinary(self._chance.choice(kinds)) for _ in range(max(0, ordinary))]
        for spec in odd:
            specs.insert(self._chance.randrange(len(specs) + 1), spec)
        return specs

    def _ordinary(self, kind: Kind) -> Spec:
        chance = self._chance
        roll = chance.random()
        offset, zone, latitude, longitude = _PLACES[int(chance.random() * len(_PLACES))]
        placed = roll < 0.6 and kind != "screenshot"
        return Spec(
            kind=kind,
            name_form="string" if roll > 0.95 else "bytes",
            offset=offset,
            time_zone=zone,
            favorite=1 if roll < 0.05 else 0 if roll < 0.08 else None,
            edited=0.1 < roll < 0.16 and kind in ("heic", "jpeg", "portrait"),
            latitude=latitude if placed else None,
            longitude=longitude if placed else None,
        )

    def _develop(self, spec: Spec, rank: int, of: int) -> Asset:
        """Give the photo its place in time: the later in the list the newer, the last one hours old."""
        plan = self._plan
        age = int(_YEARS * (of - rank) / of) - _YEARS // of + 3_600_000
        if spec.trashed_days_ago is not None:
            age = spec.trashed_days_ago * _DAY
        moment = plan.now - max(age, 60_000) + int(self._chance.random() * 50_000)
        _, asset = self._developer.develop(self._zone, spec, moment)
        self._made.append(asset)
        if spec.filename:
            self._by_title.setdefault(spec.filename, asset)
        return asset

    def _duplicate(self, asset: Asset) -> None:
        """A second asset of one master, as iOS's Duplicate makes."""
        twin = _with(
            asset,
            name=self._developer.uuid(),
            created=asset.created + 5000,
            modified=asset.created + 5000,
            added=asset.added + 5000,
        )
        self._zone.put(twin)
        self._made.append(twin)

    def _leave_traces(self) -> None:
        """Tombstones: a third of a real history is such (facts/cloudkit.md §1.7)."""
        for _ in range(min(20, self._plan.assets // 10)):
            self._zone.bury(self._developer.uuid())

    # -- albums ----------------------------------------------------------------------------------

    def _add_roots(self) -> None:
        then = self._plan.now - _YEARS
        for name in (ROOT_FOLDER, PROJECT_ROOT_FOLDER):
            self._zone.put(Album(name=name, created=then, modified=then, title="", kind=3))

    def _album(
        self, title: str, parent: str = ROOT_FOLDER, kind: int = 0, *, deleted: bool = False
    ) -> str:
        then = self._plan.now - _YEARS // 2
        name = self._developer.uuid()
        position = 1024 * (1 + sum(1 for _ in self._zone.albums()))
        self._zone.put(
            Album(
                name=name,
                created=then,
                modified=then,
                title=title,
                kind=kind,
                parent=parent,
                position=position,
                deleted=deleted,
                trashed=then if deleted else 0,
            )
        )
        return name

    def _fill(self, album: str, assets: Iterable[Asset]) -> None:
        for position, asset in enumerate(assets):
            moment = self._plan.now - _DAY
            self._zone.put(relation(asset.name, album, moment, 1024 * (position + 1)))

    def _add_albums(self) -> None:
        if self._plan.assets <= 0:
            return
        visible = [a for a in self._made if not a.deleted and not a.hidden and a.stands_alone]
        pick = visible[:: max(1, len(visible) // 8)]
        self._fill(self._album("Best of"), pick)
        holidays = self._album("Holidays", kind=3)
        europe = self._album("Europe", holidays, kind=3)
        self._fill(self._album("Italy 2023", europe), visible[5:17])
        self._fill(self._album("Norway", europe), visible[20:29])
        self._fill(self._album("Japan", holidays), visible[30:42])
        self._fill(self._album("Everything"), visible[: max(150, len(visible) // 2)])
        self._fill(self._album("Family"), visible[2:9])
        self._fill(self._album("Family"), visible[9:14])
        if self._plan.with_oddities:
            self._album("Empty album")
            self._album("Empty folder", kind=3)
            self._album("Gone album", deleted=True)
            self._album("Smart one", kind=6)
            self._fill(self._album("A/B: naïve 🎈"), visible[3:6])
            self._fill(self._album("Favorites"), visible[6:8])
        for number in range(self._plan.extra_albums):
            self._album(f"Album {number:03}")

    # -- company ---------------------------------------------------------------------------------

    def _add_company(self) -> None:
        """The records that come along in a real history and mean nothing to a file system."""
        if not self._made:
            return
        now = self._plan.now
        for number, kind in enumerate(
            ("CPLMemory", "CPLPerson", "CPLPerson", "CPLFaceCrop", "CPLFaceCrop", "CPLSuggestion")
        ):
            fields = {"version": int64(number), "title": string(f"{kind} {number}")}
            self._zone.put(
                Other(
                    name=self._developer.uuid(), created=now, modified=now, type=kind, fields=fields
                )
            )

    def _add_shared_library(self) -> None:
        if self._plan.shared == "none" or self._plan.assets <= 0:
            return
        mine = self._plan.shared == "private"
        other = f"_{self._chance.getrandbits(128):032x}"
        database = self._cloud.private if mine else self._cloud.shared
        owner = self._cloud.owner if mine else other
        name = SHARED_ZONE_PREFIX + self._developer.uuid()
        zone = database.add(Zone(name, owner, database.area))
        for number in range(_SHARED_ASSETS):
            age = (_SHARED_ASSETS - number) * 20 * _DAY
            contributor = (self._cloud.owner, other)[number % 2]
            kind: Kind = ("heic", "jpeg", "live", "video")[number % 4]
            spec = Spec(kind=kind, contributor=contributor, favorite=1 if number == 3 else None)
            self._developer.develop(zone, spec, self._plan.now - age)
        zone.put(library_info(zone, self._plan.now))
        zone.put(shared_quota(zone, self._plan.now))

    def _share_into_albums(self) -> None:
        """Put photos of the shared library into own albums (facts/cloudkit.md §1.12): into one that has own
        photos, too, and into one that has no others. One relation names a photo that is nowhere."""
        shared = next(
            (z for z in self._cloud.zones() if z.name.startswith(SHARED_ZONE_PREFIX)), None
        )
        if shared is None:
            return
        theirs = sorted(shared.assets(), key=lambda asset: asset.created)
        best = next(album.name for album in self._zone.albums() if album.title == "Best of")
        self._fill(best, theirs[:3])
        self._fill(self._album("Together"), theirs[2:7])
        gone = self._developer.uuid()
        self._zone.put(relation(gone, best, self._plan.now - _DAY, 1024))

    def _add_other_zones(self) -> None:
        if not self._plan.other_zones:
            return
        for prefix in ("CMM-", "AppLibrarySync-com.apple.GenerativePlayground-"):
            name = prefix + self._developer.uuid()
            self._cloud.private.add(Zone(name, self._cloud.owner, "private", holding="other"))


def shared_quota(zone: Zone, now: int) -> Other:
    """CPLSharedLibraryQuota: it comes with every addition to a shared library."""
    used = sum(
        resource.blob.size
        for row in zone.rows.values()
        if isinstance(row, Master)
        for resource in row.resources
    )
    name = f"{zone.name}-quota"
    fields = {"quotaUsed": int64(used)}
    return Other(name=name, created=now, modified=now, type="CPLSharedLibraryQuota", fields=fields)


# -- oddities ------------------------------------------------------------------------------------


def oddities(plan: LibraryPlan) -> list[Spec]:
    """One of everything that has broken some client."""
    now = plan.now
    march = 1_709_380_800_000  # 2024-03-02 12:00 UTC
    june = march + 95 * _DAY
    new_year = 1_704_065_400_000  # 2023-12-31 23:30 UTC
    specs = [
        Spec("jpeg", "Urlaub/Strand.JPG"),
        Spec("heic", "Grüße aus Köln.HEIC"),
        Spec("jpeg", "🎉 Party 🎂.JPG"),
        Spec("jpeg", "Cafe\u0301 cre\u0300me.JPG"),  # decomposed, as a Mac writes it
        Spec("screenshot", "Screenshot 2024-03-02 at 4.05.06\u202fPM.png"),
        Spec("screenshot", "Bildschirmfoto\u00a02024-03-02.png"),
        Spec("jpeg", "Panoramablick " + "sehr " * 60 + "lang.JPG"),
        Spec("jpeg", "日本語" * 40 + ".JPG"),
        Spec("jpeg", "no extension"),
        Spec("jpeg", ".hidden.JPG"),
        Spec("jpeg", "trailing dot..JPG."),
        Spec("jpeg", "line\nbreak\x01.JPG"),
        Spec("heic", "UNNAMED.HEIC", name_form="missing"),
        Spec("png", "NOTYPE.PNG", uti_missing=True),
        Spec("jpeg", "UNDATED.JPG", undated=True),
        Spec("jpeg", "GRANDMA.JPG", taken=-315_619_200_000, offset=3600),  # 1960-01-01
        Spec("jpeg", "IMG_0500.JPG", taken=march),
        Spec("jpeg", "IMG_0500.JPG", taken=march + 3 * _DAY),
        Spec("jpeg", "img_0500.jpg", taken=march + 4 * _DAY),
        Spec("jpeg", "IMG_0500.JPG", taken=june),
        Spec("live", "IMG_0700.HEIC", taken=march),
        Spec("video", "IMG_0700.MOV", taken=march + _DAY),
        Spec("heic", "NEWYEAR_WEST.HEIC", taken=new_year, offset=-28800),
        Spec("heic", "NEWYEAR_EAST.HEIC", taken=new_year, offset=46800),
        Spec("webp", "sticker.webp"),
        Spec("gif", "cat.gif"),
        Spec("dng", "IMG_0801.DNG"),
        Spec("raw+jpeg", "IMG_0802.JPG"),
        Spec("raw+jpeg", "IMG_0803.JPG", favorite=1),
        Spec("turned", "TURNED.JPG"),
        Spec("turned", "TURNED_TOO.JPG"),
        Spec("heic", "EDITED.HEIC", edited=True, favorite=1),
        Spec("live", "EDITED_LIVE.HEIC", edited=True),
        Spec("video", "EDITED_VIDEO.MOV", edited=True),
        Spec("jpeg", "TRIPOD.JPG", render_type=4),
        Spec("heic", "FAVORITE.HEIC", favorite=1, caption="The best one", keywords=("sun", "sea")),
        Spec("slomo", "SLOMO.MOV"),
        Spec("timelapse", "TIMELAPSE.MOV"),
        Spec("panorama", "PANORAMA.JPG"),
        Spec("portrait", "PORTRAIT.HEIC", edited=True),
        Spec("heic", "HIDDEN_1.HEIC", hidden=1),
        Spec("jpeg", "HIDDEN_2.JPG", hidden=1, favorite=1),
        Spec("video", "HIDDEN_3.MOV", hidden=1),
        Spec("heic", "UNHIDDEN.HEIC", hidden=0),
        Spec("heic", "DELETED_1.HEIC", trashed_days_ago=2, taken=now - 200 * _DAY),
        Spec("jpeg", "DELETED_2.JPG", trashed_days_ago=5, taken=now - 300 * _DAY),
        Spec("live", "DELETED_3.HEIC", trashed_days_ago=9, taken=now - 400 * _DAY),
        Spec("heic", "DELETED_4.HEIC", trashed_days_ago=20, taken=now - 500 * _DAY, hidden=1),
        Spec("heic", "ADDED_LATE.HEIC", taken=now - 1500 * _DAY, added=now - 3 * _DAY),
    ]
    burst = "B0057A11-0000-4000-A000-0000000000B1"
    specs += [
        Spec(
            "jpeg",
            f"IMG_09{frame:02}.JPG",
            taken=june + frame * 100,
            burst=burst,
            burst_flags=PICKED if frame == 2 else NOT_PICKED,
        )
        for frame in range(6)
    ]
    if plan.large_files:
        specs += [
            Spec("large", "LARGE_1.JPG"),
            Spec("large", "LARGE_2.JPG"),
            Spec("long-video", "LONG.MOV"),
            Spec("huge-video", "HUGE.MOV"),
        ]
    return specs
