"""Files of a chunked array: missing ones, and damage visible without decoding.

The existing files are listed and compared with what the metadata claims, so that a claim costs
nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from grokpack import storage
from grokpack.core.errors import OtherFormat
from grokpack.core.finding import Finding
from grokpack.formats import file_recognition, zarr_metadata_parsing
from grokpack.formats.zarr_metadata_parsing import BLOSC_HEAD_BYTES
from grokpack.formats.zarr_shards import ENTRY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from grokpack.core.tensors import Shape
    from grokpack.formats.zarr_metadata_parsing import ZarrArrayMetadata

_FEW = 5  # missing files that are named


@dataclass(frozen=True, slots=True)
class ArrayFiles:
    """Files of one array.

    Attributes:
        store: The store's folder.
        folder: The array's folder below it.
        array: The model's name of it.
        stored: Its metadata.
        paths: Existing files, below the store's folder, by their index in the grid.
    """

    store: str
    folder: str
    array: str
    stored: ZarrArrayMetadata
    paths: Mapping[Shape, str]

    @classmethod
    def among(
        cls, keys: Iterable[str], store: str, folder: str, array: str, stored: ZarrArrayMetadata
    ) -> ArrayFiles:
        """Select the array's files among the names below its folder."""
        places = ((stored.place_of(key), key) for key in keys)
        found = {place: f"{folder}/{key}" for place, key in places if place is not None}
        return cls(store, folder, array, stored, dict(sorted(found.items())))

    @property
    def missing(self) -> int:
        """Number of missing files."""
        return self.stored.files - len(self.paths)

    @property
    def index_bytes(self) -> int:
        """Bytes of the indices of all existing shards."""
        return self.stored.index[0] * len(self.paths) if self.stored.index else 0

    def absences(self) -> Iterator[Finding]:
        """Yield findings for the first missing files."""
        if not self.missing:
            return
        absent = (place for place in self.stored.places() if place not in self.paths)
        for place in islice(absent, _FEW):
            path = f"{self.folder}/{self.stored.key_of(place)}"
            yield Finding("GP101", "file is missing", path, self.array)

    def sizes(self) -> list[int]:
        """Return the sizes of the files, requested in parallel where each request takes time."""
        return storage.map_all(
            self.store,
            lambda path: storage.size_of(os.path.join(self.store, path)) or 0,
            list(self.paths.values()),
        )

    def damage(self, place: Shape, size: int) -> Finding | None:
        """Return what is visibly wrong with a file of a size, without decoding it."""
        found = self._damage(place, size)
        if found is None:
            return None
        path = os.path.join(self.store, self.paths[place])
        other = file_recognition.recognize_stand_in(storage.FileBytes(path))
        message = f"the file is {other}"
        return found if other is None else replace(found, code=OtherFormat.CODE, message=message)

    def _damage(self, place: Shape, size: int) -> Finding | None:
        blank = Finding("GP103", "", self.paths[place], self.array)
        if self.stored.file_bytes is not None:
            return _missized(blank, self.stored.file_bytes, size)
        data = storage.FileBytes(os.path.join(self.store, self.paths[place]))
        if self.stored.index is None:
            if size > self.stored.most_bytes:
                what = "chunk is longer than its shape can become"
                return replace(blank, code="GP104", message=what, found=f"{size:,} bytes")
            return self._inflated(blank, data, [(0, size)])
        nbytes, at_end = self.stored.index
        if size < nbytes:
            what = "shard is shorter than its index"
            return replace(blank, message=what, found=f"{size:,} bytes")
        entries = data.read(size - nbytes if at_end else 0, nbytes)
        index = np.frombuffer(entries, "<u8", (nbytes - nbytes % ENTRY.size) // 8).reshape(-1, 2)
        outside, most = self.stored.outside(place), self.stored.most_bytes
        wrong = zarr_metadata_parsing.misplaced(index, size, outside, most)
        if wrong:
            return replace(blank, message=wrong)
        return self._inflated(blank, data, index[index[:, 1] <= size].tolist())

    def _inflated(
        self, blank: Finding, data: storage.FileBytes, chunks: Sequence[tuple[int, int]]
    ) -> Finding | None:
        """Return a finding if a chunk of blosc claims to be larger than it can be.

        TensorStore allocates as much memory as the header claims; other codecs are bounded by the
        output.
        """
        for start, nbytes in chunks if self.stored.blosc else ():
            head = data.read(start, min(BLOSC_HEAD_BYTES, nbytes))
            claimed = int.from_bytes(head[4:8], "little")
            if claimed > self.stored.most_bytes:
                what = "a chunk claims to become more than its shape asks for"
                return replace(blank, code="GP104", message=what, found=f"{claimed:,} bytes")
        return None


def _missized(blank: Finding, wanted: int, size: int) -> Finding | None:
    """Return a finding if a file has the wrong size."""
    if size == wanted:
        return None
    what = "chunk is longer than its shape asks for"
    if size < wanted:
        what = "chunk is shorter than its shape asks for"
    code = "GP103" if size < wanted else "GP104"
    facts = f"{wanted:,} bytes", f"{size:,} bytes"
    return replace(blank, code=code, message=what, expected=facts[0], found=facts[1])
