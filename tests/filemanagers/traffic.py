"""What has left the local iCloud, by what it is: originals, small renditions, and all that is no content."""

from __future__ import annotations

from dataclasses import dataclass

from tests.whole.local_icloud import LocalICloud


@dataclass(frozen=True)
class Sent:
    """Bytes."""

    originals: int
    """And their companions: whatever a file of the mount consists of."""
    small: int
    """The JPEGs that iCloud makes of every photo and of every edit, the only contents that no file has."""
    other: int
    """Lists of photos, addresses of contents, and the looks for what is new."""

    def __str__(self) -> str:
        return f"{self.originals} bytes of originals, {self.small} of thumbnails, {self.other} of anything else"


def sent(icloud: LocalICloud) -> Sent:
    """Since the counters were last reset."""
    traffic = icloud.control.traffic(log=False)
    by_content: dict[str, int] = traffic["content_bytes"]
    whole = {
        rendition["checksum"] for entry in icloud.manifest() for rendition in entry["renditions"]
    }
    originals = sum(by_content[checksum] for checksum in by_content.keys() & whole)
    small = sum(by_content.values()) - originals
    return Sent(originals, small, traffic["bytes_out"] - originals - small)


def contents_sent(icloud: LocalICloud) -> int:
    """Bytes of any photo; what the looks for something new take is not among them."""
    by_content: dict[str, int] = icloud.control.traffic(log=False)["content_bytes"]
    return sum(by_content.values())
