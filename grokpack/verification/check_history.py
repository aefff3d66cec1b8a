"""History of checks: when each tile of each file was last found good.

Results hold for a file as it was. A file with another size or modification time, or compared with
other checksums, counts as never read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import xxhash

from grokpack import storage
from grokpack.checkpoint import manifest_paths
from grokpack.core.errors import GrokpackError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grokpack.checkpoint.manifest_paths import ComparedFiles
    from grokpack.checkpoint.manifest_records import Record

_SCHEMA = "grokpack/checked/1"
NEVER_CHECKED = 0
"""Time of a tile that was never read, or was found bad."""


@dataclass(slots=True)
class FileHistory:
    """Earlier results for the tiles of one file.

    Attributes:
        good: Time when each tile was last found good, in seconds since 1970, or `NEVER_CHECKED`.
        bad: Tiles that were bad when they were last read.
    """

    good: list[int]
    bad: set[int] = field(default_factory=set)

    def note(self, tile: int, at: int, *, good: bool) -> None:
        """Add a result."""
        self.good[tile] = at if good else NEVER_CHECKED
        (self.bad.discard if good else self.bad.add)(tile)


class CheckHistory:
    """Earlier results for the files of a checkpoint, by path.

    Args:
        checkpoint: The checkpoint with the files.
    """

    def __init__(self, checkpoint: ComparedFiles) -> None:
        self._places = manifest_paths.results(checkpoint)
        self._rows = self._load()
        self._stamps: dict[str, tuple[storage.Stamp, str]] = {}
        self._known: dict[str, FileHistory] = {}

    def recall(self, records: Iterable[Record]) -> dict[str, FileHistory]:
        """Return earlier results for these files, by path; `keep` saves them with additions."""
        for record in records:
            path = record.file.path
            mark = (storage.stamp(record.path), _digest(record.tiles))
            self._stamps[path] = mark
            known = _known(self._rows.get(path), mark, len(record.tiles))
            self._known[path] = known or FileHistory([NEVER_CHECKED] * len(record.tiles))
        return self._known

    def keep(self) -> None:
        """Save the results, beside the checkpoint or in the user's cache."""
        rows = dict(self._rows)
        for path, known in self._known.items():
            stamp, digest = self._stamps[path]
            runs = [[len(list(run)), at] for at, run in groupby(known.good)]
            rows[path] = {"stamp": stamp, "of": digest, "good": runs, "bad": sorted(known.bad)}
        document = {"schema": _SCHEMA, "files": rows}
        storage.write_whole(manifest_paths.writable(self._places), json.dumps(document).encode())

    def _load(self) -> dict[str, Any]:
        """Load rows by path; none if the record is missing or broken: everything is read then."""
        for place in self._places:
            try:
                document = storage.read_json(place) if storage.exists(place) else None
            except GrokpackError:
                continue
            if isinstance(document, dict) and document.get("schema") == _SCHEMA:
                files = document.get("files")
                return files if isinstance(files, dict) else {}
        return {}


def _known(row: Any, mark: tuple[storage.Stamp, str], tiles: int) -> FileHistory | None:  # noqa: ANN401
    """Return a valid row about the file as it is now, or None."""
    try:
        if (tuple(row["stamp"]), row["of"]) != mark:
            return None
        good = [int(at) for count, at in row["good"] for _ in range(min(count, tiles))]
        known = FileHistory(good, {int(tile) for tile in row["bad"]})
    except (KeyError, TypeError, ValueError):
        return None
    return known if len(good) == tiles and known.bad <= set(range(tiles)) else None


def _digest(tiles: tuple[str, ...]) -> str:
    return xxhash.xxh3_128_hexdigest("".join(tiles).encode())
