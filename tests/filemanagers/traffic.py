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

    read: tuple[str, ...]
    """Whose originals they are."""

    def __str__(self) -> str:
        whose = f" ({', '.join(self.read)})" if self.read else ""
        return (
            f"{self.originals} bytes of originals{whose}, {self.small} of thumbnails,"
            f" {self.other} of anything else"
        )


def sent(icloud: LocalICloud) -> Sent:
    """Since the counters were last reset."""
    traffic = icloud.control.traffic(log=False)
    by_content: dict[str, int] = traffic["content_bytes"]
    whole = {
        rendition["checksum"]: f"{entry['filename']} {rendition['rendition']}"
        for entry in icloud.manifest()
        for rendition in entry["renditions"]
    }
    read = by_content.keys() & whole.keys()
    originals = sum(by_content[checksum] for checksum in read)
    small = sum(by_content.values()) - originals
    other = traffic["bytes_out"] - originals - small
    return Sent(originals, small, other, tuple(sorted(whole[checksum] for checksum in read)))


def contents_sent(icloud: LocalICloud) -> int:
    """Bytes of any photo; what the looks for something new take is not among them."""
    by_content: dict[str, int] = icloud.control.traffic(log=False)["content_bytes"]
    return sum(by_content.values())
