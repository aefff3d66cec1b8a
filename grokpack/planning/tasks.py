"""Tasks: ranges of tiles that a run writes independently of each other."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.core.tiles import TILE_BYTES, tile_count, tiles_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from grokpack.core.layout import FileLayout, Layout
    from grokpack.planning.target import Target


TASK_BYTES = 256 << 20
"""Output of one task: what a crash loses per worker at most."""

_SHORT_BYTES = 64 << 20  # shorter tasks would cut more arrays
_TASKS_OF_WORKER = 16  # at least, so that the last one takes a twentieth of its time


@dataclass(frozen=True, slots=True)
class TileRange:
    """Consecutive tiles of the files of a group."""

    file_group: int
    first: int
    last: int  # one past

    @property
    def tiles(self) -> range:
        """Its tiles."""
        return range(self.first, self.last)

    def span(self, file: FileLayout) -> tuple[int, int]:
        """Return the first byte and one past the last of its tiles, in a file of the group."""
        return tiles_range(self.first, self.last, file.nbytes)

    def nbytes(self, layout: Layout) -> int:
        """Count the bytes of its tiles, in all files of the group."""
        group = layout.file_groups[self.file_group]
        start, stop = self.span(group[0])
        return (stop - start) * len(group)


def tasks(
    target: Target, done: Mapping[int, set[int]], task_bytes: int | None = None
) -> Iterator[tuple[TileRange, ...]]:
    """Group the tiles that are outstanding into tasks of about the same size.

    One task writes a whole compressed file, however large: its offsets are known only in order.

    Args:
        target: The files that are written.
        done: Tiles that are finished already, by file group.
        task_bytes: Size of a task, `TASK_BYTES` by default; at least a tile of every file of a
            group.
    """
    task_bytes = TASK_BYTES if task_bytes is None else task_bytes
    batch: list[TileRange] = []
    nbytes = 0
    for number, group in enumerate(target.layout.file_groups):
        most = max(1, task_bytes // (len(group) * TILE_BYTES))
        if target.codec is not None:
            most = tile_count(group[0].nbytes)
        edges = _good_edges(group[0])
        for run in _outstanding(number, tile_count(group[0].nbytes), done.get(number, set())):
            for piece in _pieces(run, most, edges):
                batch.append(piece)
                nbytes += min((piece.last - piece.first) * TILE_BYTES, group[0].nbytes) * len(group)
                if nbytes >= task_bytes // 2:
                    yield tuple(batch)
                    batch, nbytes = [], 0
    if batch:
        yield tuple(batch)


def short_task_bytes(layout: Layout, at_once: int) -> int:
    """Return the size of tasks of which each of `at_once` workers does several, if it can.

    Workers are not equally fast, and what is left at the end one does alone. A task that begins
    within a large array takes memory for it beside what the one before has not given back, so none
    is shorter than two of the largest arrays.

    Args:
        layout: What all of them write.
        at_once: How many there are.
    """
    groups = (group[0] for group in layout.file_groups if group)
    largest = max((s.nbytes for file in groups for s in file.segments), default=0)
    share = layout.nbytes // (_TASKS_OF_WORKER * at_once)
    return min(TASK_BYTES, max(_SHORT_BYTES, 2 * largest, share))


def far_apart(
    tasks: Iterable[tuple[TileRange, ...]], at_once: int
) -> Iterator[tuple[TileRange, ...]]:
    """Order tasks so that those done at once seldom write the same file.

    A file system lets one thread at a time write a file: others wait for it, and burn processor
    time. Each of `at_once` workers goes through a stretch of its own.
    """
    listed = list(tasks)
    stretch = max(1, -(-len(listed) // at_once))
    for first in range(stretch):
        yield from listed[first::stretch]


def _good_edges(file: FileLayout) -> list[int]:
    """List the tiles at which a task had best begin: the first one wholly within each array.

    Scales found for an array serve those that follow it, and have to be found again if a task
    begins between them.
    """
    starts = (end - s.nbytes for s, end in zip(file.segments, file.ends, strict=True))
    return sorted({-(-start // TILE_BYTES) for start in starts})


def _pieces(run: TileRange, most: int, edges: list[int]) -> Iterator[TileRange]:
    """Cut a range into pieces of at most `most` tiles, at good edges where there are any."""
    first = run.first
    while first < run.last:
        last = min(first + most, run.last)
        good = bisect_right(edges, last) - 1
        if last < run.last and good >= 0 and edges[good] - first > most // 2:
            last = edges[good]
        yield TileRange(run.file_group, first, last)
        first = last


def _outstanding(group: int, tiles: int, done: set[int]) -> Iterator[TileRange]:
    first = None
    for tile in range(tiles + 1):
        open_tile = tile < tiles and tile not in done
        if open_tile and first is None:
            first = tile
        elif not open_tile and first is not None:
            yield TileRange(group, first, tile)
            first = None
