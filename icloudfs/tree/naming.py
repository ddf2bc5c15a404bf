"""The names of one photo's files: variants of each, and which of them it has in which scope."""

from __future__ import annotations

from icloudfs.apple.wire import PRIMARY_ZONE
from icloudfs.tree import names
from icloudfs.tree.claims import Claims, Held
from icloudfs.tree.layout import FileOf, Photo
from icloudfs.tree.names import Stem


class Naming:
    """Variant 0 is plain, 1 has the suffix, and further ones a number behind that."""

    def __init__(self, photo: Photo, stem: Stem, files: list[FileOf]) -> None:
        self._photo = photo
        self._stem = stem
        self._files = files
        self._variants: list[list[str]] = []
        self._keys: list[list[str]] = []

    def decide(self, claims: Claims, scope: int, held: Held) -> list[bytes]:
        """One name for each file, in their order; claims it if the photo is new in the scope."""
        chosen = claims.decide(scope, self._photo.id, self.keys, held.get(scope, set()))
        return [self._variants[number][at].encode() for at, number in enumerate(chosen)]

    def keys(self, number: int) -> list[str]:
        """The folded names of a variant."""
        keys = self._keys
        while number >= len(keys):
            made = self._make(len(keys))
            self._variants.append(made)
            keys.append([names.fold(name) for name in made])
        return keys[number]

    def _make(self, number: int) -> list[str]:
        suffix = self._suffix(number)
        made: list[str] = []
        taken: set[str] = set()
        for file in self._files:
            name = names.file_name(self._stem, file.rendition, file.extension, suffix)
            if names.fold(name) in taken:
                # A movie with a live photo's movie beside it: not seen yet, and no reason to lose one.
                marked = Stem(f"{self._stem.text}-{file.rendition}", self._stem.extension)
                name = names.file_name(marked, file.rendition, file.extension, suffix)
            taken.add(names.fold(name))
            made.append(name)
        return made

    def _suffix(self, number: int) -> str:
        if number == 0:
            return ""
        photo = self._photo
        # A photo may have the same record name in two libraries.
        identity = (
            photo.name if photo.zone_name == PRIMARY_ZONE else f"{photo.zone_name}/{photo.name}"
        )
        return names.suffix_of(identity) + (str(number) if number > 1 else "")
