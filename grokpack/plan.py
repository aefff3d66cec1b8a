"""What will be written, from what, and what it will cost: settled before the first byte. Pure."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from grokpack.ops import Fitted, Quantising, StreamedOp
from grokpack.tiling import TILE_BYTES, tile_count, tiles_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from grokpack.checkpoint import Checkpoint
    from grokpack.encoding import Encoding
    from grokpack.layout import FileLayout, Layout
    from grokpack.ops import Op

TASK_BYTES = 256 << 20
"""Output of one task: what a crash loses at most per worker, and what one receipt covers."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be written.

    Attributes:
        format: Name of the format.
        layout: Files that are filled from arrays, paths relative to the output folder.
        ops: How each array of the layout is made.
        finals: Small files (config, index) that are written last, in order, before the manifest.
        framings: Pickle framing to be remembered in the manifest.
        notes: What the user should know before it starts: sizes that surprise, what is rounded.
        lossless: Whether every value, code and scale of the source can be had back.
        single: Whether the output is one file of the name that the user gives.
        sparse: Whether every array is zero and left as a hole in its file.
        thread_bytes: Memory that each thread needs beside its steps: what an op must make whole.
        encoding: How the files are kept, where not as the layout has them; what they take is known
            when they are written.
        place: The one folder that it can be written to, for what points at the source's files from
            there and reads none of them; None for any.
    """

    format: str
    layout: Layout
    ops: Mapping[str, Op | StreamedOp]
    finals: Mapping[str, bytes] = field(default_factory=dict)
    framings: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    lossless: bool = True
    single: bool = False
    sparse: bool = False
    encoding: Encoding | None = None
    thread_bytes: int = 0

    @property
    def files_bytes(self) -> int:
        """Bytes of the layout's files; the most they can be where they are encoded."""
        if self.encoding is None:
            return self.layout.nbytes
        return sum(self.encoding.bound(file) for file in self.layout.files())

    place: str | None = None

    @property
    def streams(self) -> bool:
        """Whether an op reads blocks of the source, for kernels to make pieces of."""
        return any(isinstance(op, StreamedOp) for op in self._one_of_each_type())

    @property
    def remembers(self) -> bool:
        """Whether an op's fit serves several arrays, so that some of it is kept."""
        return any(isinstance(op, Fitted) for op in self._one_of_each_type())

    @property
    def quantises(self) -> bool:
        """Whether an op chooses scales, which is arithmetic and no mere moving of bytes."""
        return any(isinstance(op, Fitted | Quantising) for op in self._one_of_each_type())

    def _one_of_each_type(self) -> Iterable[Op | StreamedOp]:
        """Few ops stand for all: before Python 3.12 a protocol takes 100 us for each."""
        return {type(op): op for op in self.ops.values()}.values()


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive tiles of the files of a band."""

    band: int
    first: int
    last: int  # one past

    @property
    def tiles(self) -> range:
        """Its tiles."""
        return range(self.first, self.last)

    def span(self, file: FileLayout) -> tuple[int, int]:
        """First byte and last byte + 1 of its tiles, in a file of the band."""
        return tiles_range(self.first, self.last, file.nbytes)

    def nbytes(self, layout: Layout) -> int:
        """Bytes of its tiles, in all files of the band."""
        band = layout.bands[self.band]
        start, stop = self.span(band[0])
        return (stop - start) * len(band)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, before it begins.

    Attributes:
        command: The command that made it, `reshard` or `synth`.
        parameters: Its options that change the output, as JSON values.
        source: What is read; None for a synthetic checkpoint.
        target: What is written.
    """

    command: str
    parameters: Mapping[str, Any]
    source: Checkpoint | None
    target: Target

    def description(self) -> dict[str, Any]:
        """What the manifest says of where the output came from."""
        encoding = self.target.encoding
        return {
            "command": self.command,
            "parameters": dict(self.parameters),
            "source": None if self.source is None else self.source.identity(),
            "format": self.target.format,
            **({} if encoding is None else {"encoding": encoding.describe()}),
        }

    def digest(self) -> str:
        """Digest of source identity, target layout, ops and parameters (sha256, hex).

        Not in it: paths, memory, tiling, workers. So those may change between runs.
        """
        files = [
            [file.path, file.nbytes, [_segment(s) for s in file.segments]]
            for file in self.target.layout.files()
        ]
        ops = {name: op.describe() for name, op in self.target.ops.items()}
        finals = {
            name: hashlib.sha256(data).hexdigest() for name, data in self.target.finals.items()
        }
        document = [self.description(), files, ops, finals]
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def anywhere(self) -> Plan:
        """The same, with the source's place told from the root: for other processes."""
        return replace(self, source=self.source and self.source.anywhere())

    @property
    def streams(self) -> bool:
        """Whether blocks are read for many pieces: by an op, or by a view of the source."""
        return self.target.streams or bool(self.source and self.source.views)

    @property
    def writes_bytes(self) -> int:
        """Exact bytes of the output, but for the manifest; the most where files are encoded."""
        return self.target.files_bytes + sum(map(len, self.target.finals.values()))

    @property
    def disk_bytes(self) -> int:
        """Bytes that the output takes on disk: all of them, unless its arrays are holes."""
        return 0 if self.target.sparse else self.writes_bytes

    @property
    def reads_bytes(self) -> int:
        """Bytes of the source's files, each read once; none where they are only pointed at."""
        return self.source.layout.nbytes if self.source and self.target.place is None else 0


def _segment(segment: Any) -> list[object]:  # noqa: ANN401  # Literal or Part
    data = getattr(segment, "data", None)
    if data is not None:
        return [hashlib.sha256(data).hexdigest()]
    return [segment.array, segment.box.start, segment.box.shape, segment.dtype.value]


def tasks(
    target: Target, done: Mapping[int, set[int]], task_bytes: int | None = None
) -> Iterator[tuple[Run, ...]]:
    """Group the tiles that are outstanding into tasks of about the same size.

    A file that is encoded is one task's, however large: where its parts lie is known in order only.

    Args:
        target: What is written.
        done: Tiles that are finished already, by band.
        task_bytes: That size, `TASK_BYTES` by default; a tile of every file of a band at least.
    """
    task_bytes = TASK_BYTES if task_bytes is None else task_bytes
    batch: list[Run] = []
    nbytes = 0
    for number, band in enumerate(target.layout.bands):
        most = max(1, task_bytes // (len(band) * TILE_BYTES))
        if target.encoding is not None:
            most = tile_count(band[0].nbytes)
        edges = _good_edges(band[0])
        for run in _outstanding(number, tile_count(band[0].nbytes), done.get(number, set())):
            for piece in _pieces(run, most, edges):
                batch.append(piece)
                nbytes += min((piece.last - piece.first) * TILE_BYTES, band[0].nbytes) * len(band)
                if nbytes >= task_bytes // 2:
                    yield tuple(batch)
                    batch, nbytes = [], 0
    if batch:
        yield tuple(batch)


def _good_edges(file: FileLayout) -> list[int]:
    """Tiles at which a task had best begin: the first that lies wholly behind an array's beginning.

    What is fitted for an array serves those that follow it, and has to be fitted again where a
    task begins between them.
    """
    starts = (end - s.nbytes for s, end in zip(file.segments, file.ends, strict=True))
    return sorted({-(-start // TILE_BYTES) for start in starts})


def _pieces(run: Run, most: int, edges: list[int]) -> Iterator[Run]:
    """Cut a run into pieces of at most so many tiles, at good edges where there are any."""
    first = run.first
    while first < run.last:
        last = min(first + most, run.last)
        good = bisect_right(edges, last) - 1
        if last < run.last and good >= 0 and edges[good] - first > most // 2:
            last = edges[good]
        yield Run(run.band, first, last)
        first = last


def _outstanding(band: int, tiles: int, done: set[int]) -> Iterator[Run]:
    first = None
    for tile in range(tiles + 1):
        open_tile = tile < tiles and tile not in done
        if open_tile and first is None:
            first = tile
        elif not open_tile and first is not None:
            yield Run(band, first, tile)
            first = None
