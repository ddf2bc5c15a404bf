"""File names: from what iCloud calls a photo to what can stand in a directory (DESIGN §10.2, §10.3)."""

from __future__ import annotations

import re
import unicodedata
from base64 import b32encode
from hashlib import blake2b

import msgspec

from icloudfs.apple.records import Rendition

LONGEST = 255
"""Bytes; the limit of Linux for one name."""

SUFFIX_LENGTH = 7

_SPACES = dict.fromkeys(map(ord, "\u00a0\u202f"), " ")  # macOS puts them into screenshot names

_EXTENSION_OF = {
    "public.heic": "HEIC",
    "public.heif": "HEIF",
    "public.heics": "HEICS",
    "public.avif": "AVIF",
    "public.jpeg": "JPG",
    "public.jpeg-2000": "JP2",
    "public.jpeg-xl": "JXL",
    "public.png": "PNG",
    "public.tiff": "TIF",
    "com.compuserve.gif": "GIF",
    "org.webmproject.webp": "WEBP",
    "com.microsoft.bmp": "BMP",
    "com.adobe.photoshop-image": "PSD",
    "com.adobe.pdf": "PDF",
    "com.adobe.raw-image": "DNG",
    "com.apple.private.dng": "DNG",
    "com.canon.crw-raw-image": "CRW",
    "com.canon.cr2-raw-image": "CR2",
    "com.canon.cr3-raw-image": "CR3",
    "com.epson.raw-image": "ERF",
    "com.fuji.raw-image": "RAF",
    "com.hasselblad.3fr-raw-image": "3FR",
    "com.hasselblad.fff-raw-image": "FFF",
    "com.kodak.raw-image": "DCR",
    "com.konicaminolta.raw-image": "MRW",
    "com.leafamerica.raw-image": "MOS",
    "com.leica.raw-image": "RAW",
    "com.leica.rwl-raw-image": "RWL",
    "com.nikon.raw-image": "NEF",
    "com.nikon.nrw-raw-image": "NRW",
    "com.olympus.raw-image": "ORF",
    "com.olympus.or-raw-image": "ORF",
    "com.panasonic.raw-image": "RAW",
    "com.panasonic.rw2-raw-image": "RW2",
    "com.pentax.raw-image": "PEF",
    "com.phaseone.raw-image": "IIQ",
    "com.samsung.raw-image": "SRW",
    "com.sony.raw-image": "SRF",
    "com.sony.arw-raw-image": "ARW",
    "com.sony.sr2-raw-image": "SR2",
    "com.apple.quicktime-movie": "MOV",
    "com.apple.m4v-video": "M4V",
    "public.mpeg-4": "MP4",
    "public.mpeg": "MPG",
    "public.mpeg-2-transport-stream": "TS",
    "public.3gpp": "3GP",
    "public.3gpp2": "3G2",
    "public.avi": "AVI",
    "org.webmproject.webm": "WEBM",
    "public.avchd-mpeg-2-transport-stream": "MTS",
}
"""Uniform type identifiers that photo libraries hold (facts/cloudkit.md §1.8 names the two peers' maps)."""

_KNOWN_EXTENSIONS = frozenset(_EXTENSION_OF.values()) | {
    "JPEG", "JPE", "TIFF", "HIF", "QT", "MPEG", "M2TS", "MKV", "WMV", "APNG", "SVG", "JPF", "INSV", "INSP",
}  # fmt: skip

_NAME_FOR_UNKNOWN = "BIN"

MOVIES = frozenset(
    {
        "MOV", "MP4", "M4V", "MPG", "TS", "3GP", "3G2", "AVI", "WEBM", "MTS",
        "QT", "MPEG", "M2TS", "MKV", "WMV", "INSV",
    }
)  # fmt: skip
"""Extensions of videos."""


class Stem(msgspec.Struct, frozen=True):
    """A photo's name without what tells its renditions apart."""

    text: str
    extension: str
    """Of the original, as it was given, without the dot. Never empty."""


def stem_of(filename: str, uti: str, asset: str) -> Stem:
    """Split what iCloud calls a photo. A name without a known extension gets one from its type.

    A missing name is replaced by one made of the asset's id.
    """
    clean = sanitise(filename)
    text, dot, extension = clean.rpartition(".")
    if dot and text and (extension.upper() in _KNOWN_EXTENSIONS or _looks_right(extension, uti)):
        return Stem(_without_trailing(text) or _invented(asset), extension)
    return Stem(clean or _invented(asset), extension_of(uti))


def _looks_right(extension: str, uti: str) -> bool:
    """An extension nobody has heard of, for a type nobody has heard of: believe it if it is short."""
    return uti.lower() not in _EXTENSION_OF and 1 < len(extension) <= 4 and extension.isalnum()


def extension_of(uti: str) -> str:
    """The extension for a uniform type identifier, upper case; for an unknown one that of what it
    conforms to, else ``BIN``."""
    known = _EXTENSION_OF.get(uti.lower())
    if known is not None:
        return known
    return "MOV" if _conforms_to_movie(uti) else _NAME_FOR_UNKNOWN


def type_of(uti: str, filename: str) -> str:
    """What a photo is, as the extension of its kind in upper case: by its type, else by its name's
    extension, else by what the type conforms to."""
    known = _EXTENSION_OF.get(uti.lower())
    if known is not None:
        return known
    by_name = filename.rpartition(".")[2].rstrip(". ").upper()
    return by_name if by_name in _KNOWN_EXTENSIONS else extension_of(uti)


def _conforms_to_movie(uti: str) -> bool:
    """Apple's types say what they are in a word of their own: ``public.movie``, ``com.maker.raw-video``."""
    words = re.split(r"[.\-]", uti.lower())
    return "movie" in words or "video" in words or uti.lower() == "public.audiovisual-content"


def sanitise(name: str) -> str:
    """A name that can stand in a directory; may be empty. NFC, nothing dropped but trailing dots and blanks."""
    if name.isascii() and name.isprintable():  # nearly all are: no need to look at each character
        return _without_trailing(name.replace("/", "_"))
    composed = unicodedata.normalize("NFC", name).translate(_SPACES)
    return _without_trailing("".join("_" if _is_forbidden(c) else c for c in composed))


def _is_forbidden(character: str) -> bool:
    return character == "/" or unicodedata.category(character) in ("Cc", "Cs")


def _without_trailing(name: str) -> str:
    return name.rstrip(". ")


def _invented(asset: str) -> str:
    return f"Photo {suffix_of(asset)}"


def suffix_of(identity: str) -> str:
    """Seven letters and digits that tell one record from another of the same name."""
    digest = blake2b(identity.encode(), digest_size=5).digest()
    return b32encode(digest).decode("ascii").lower()[:SUFFIX_LENGTH]


def fold(name: str) -> str:
    """What two names have in common when they clash: NFC, no case."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def extension_like(stem: Stem, extension: str) -> str:
    """``extension`` in the case of the original's: IMG_1.heic has its video in IMG_1.mov."""
    return extension.lower() if stem.extension.islower() else extension.upper()


_EDITED = (Rendition.EDITED, Rendition.EDITED_VIDEO, Rendition.EDITED_LIVE_VIDEO)


def file_name(stem: Stem, rendition: Rendition, extension: str, suffix: str = "") -> str:
    """The name of one rendition, with ``_suffix`` if another photo has the plain name."""
    tail = f"_{suffix}" if suffix else ""
    if rendition in _EDITED:
        tail += "-edited"
    elif rendition is Rendition.PREVIEW:
        tail += "-preview"
    elif rendition is Rendition.ALTERNATE and extension.upper() == stem.extension.upper():
        tail += "-alt"
    return _cut(stem.text, f"{tail}.{extension}")


def numbered(name: str, number: int) -> str:
    """``name (2)``, for an album that shares its name with an older one."""
    return _cut(name, f" ({number})") if number > 1 else _cut(name, "")


def _cut(stem: str, tail: str) -> str:
    """Both together in at most 255 bytes, shortened in the stem and between characters."""
    if len(stem) + len(tail) <= LONGEST // 4:  # no character has more than four bytes
        return stem + tail
    room = LONGEST - len(tail.encode())
    encoded = stem.encode()
    if len(encoded) > room:
        stem = _without_trailing(encoded[:room].decode("utf-8", "ignore"))
    return stem + tail
