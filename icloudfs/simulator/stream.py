"""A shared album of the older kind, which lives in no database: facts/cloudkit.md §1.13.

Its records are CPLMaster and CPLAsset with other habits than a library's. Two clients disagree about them,
so every album has some of each: the size of an original is 0 where others say it, and may be told beside it
or nowhere; a checksum may be missing; the date is the master's.
"""

from __future__ import annotations

from icloudfs.simulator.message import Json
from icloudfs.simulator.rows import Asset, Link, Master, int64, string
from icloudfs.simulator.zone import Zone

_FORMS = 3


class Stream:
    """One album."""

    def __init__(self, guid: str, owner: str, title: str, created: int, *, mine: bool) -> None:
        self.guid = guid
        """``albumguid``."""
        self.owner = owner
        """``ownerdsid``."""
        self.title = title
        self.created = created
        """In milliseconds since the epoch."""
        self.mine = mine
        self.records = Zone(guid, owner, "shared", holding="album")
        """Its photos, as a zone that is in no database."""
        self._renamed = 0
        self._forms: dict[str, int] = {}

    def rename(self, title: str) -> None:
        self.title = title
        self._renamed += 1

    @property
    def ctag(self) -> str:
        """``albumctag``: another one after every change."""
        return f"FT=-@RU={self.guid}@S={self.records.position + self._renamed}"

    def photos(self) -> list[Asset]:
        """In the order in which they were added."""
        return list(self.records.assets())

    def wire(self, asset: Asset, link: Link) -> list[Json]:
        """The two records of a photo, master first."""
        master = self.records.master(asset.master)
        if master is None:
            return [self._asset(asset, link)]
        return [self._master(master, link), self._asset(asset, link)]

    def _master(self, master: Master, link: Link) -> Json:
        record = self.records.wire(master, None, link)
        fields = record["fields"]
        fields.pop("contributors", None)
        original, size = fields["resOriginalRes"]["value"], master.resources[0].blob.size
        original["size"] = 0
        fields.pop("resOriginalFileSize", None)
        form = self._forms.setdefault(master.name, len(self._forms) % _FORMS)
        if form == 0:
            fields["resOriginalFileSize"] = int64(size)
        elif form == 1:
            del original["fileChecksum"]
        return record

    def _asset(self, asset: Asset, link: Link) -> Json:
        record = self.records.wire(asset, None, link)
        fields = record["fields"]
        for absent in ("assetDate", "contributors"):
            fields.pop(absent, None)
        fields["contributedBy"] = string(asset.contributor)
        return record
