"""Sets of tiles: which are written, which are left, and which part writes them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from grokpack.core.tiles import tile_count, tile_range
from grokpack.planning.tasks import TASK_BYTES, tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from grokpack.core.layout import Layout
    from grokpack.execution.receipt import Receipt
    from grokpack.planning.target import Target

_TASKS_IN_SHARE = 8  # at least, where tiles are small enough, so that shares are about even
Tiles = dict[int, set[int]]
"""Numbers of tiles, by file group."""


def tiles_of(receipts: Iterable[Receipt]) -> Tiles:
    """Collect the tiles that receipts are for."""
    done: Tiles = {}
    for receipt in receipts:
        done.setdefault(receipt.file_group, set()).update(receipt.tiles)
    return done


def distinct(receipts: Iterable[Receipt], lost: Tiles | None = None) -> list[Receipt]:
    """Reduce receipts so that each tile is in one only; two processes may have written it.

    Args:
        receipts: Receipts of one output.
        lost: Tiles that are left out.
    """
    seen: Tiles = {group: set(tiles) for group, tiles in (lost or {}).items()}
    found = []
    for receipt in receipts:
        before = seen.setdefault(receipt.file_group, set())
        found += list(_without(receipt, before))
        before.update(receipt.tiles)
    return found


def fitting(layout: Layout, receipts: Iterable[Receipt]) -> list[Receipt]:
    """Keep the receipts that a run of this layout can have written."""
    return [receipt for receipt in receipts if _fits(layout, receipt)]


def _fits(layout: Layout, receipt: Receipt) -> bool:
    if not 0 <= receipt.file_group < len(layout.file_groups) or receipt.first < 0:
        return False
    group = layout.file_groups[receipt.file_group]
    return (
        len(receipt.sums) == len(group)
        and len({len(row) for row in receipt.sums}) == 1
        and receipt.last <= tile_count(group[0].nbytes)
        and len(receipt.compressed) in (0, len(group))
        and len(receipt.marks) in (0, len(group))
    )


def _without(receipt: Receipt, seen: set[int]) -> Iterator[Receipt]:
    """Yield the stretches of a receipt whose tiles were not seen yet."""
    fresh = [tile not in seen for tile in receipt.tiles]
    if all(fresh):
        yield receipt
        return
    at = 0
    while at < len(fresh):
        stop = at
        while stop < len(fresh) and fresh[stop]:
            stop += 1
        if stop > at:
            sums = tuple(row[at:stop] for row in receipt.sums)
            error_stats = receipt.error_stats[at:stop]
            yield replace(receipt, first=receipt.first + at, sums=sums, error_stats=error_stats)
        at = stop + 1


def file_groups_of(layout: Layout, tiles: Mapping[str, set[int]]) -> Tiles:
    """Convert tiles of files, by path, to tiles of the groups that the files are in."""
    found = {
        number: set().union(*(tiles.get(file.path, ()) for file in group))
        for number, group in enumerate(layout.file_groups)
    }
    return {number: own for number, own in found.items() if own}


def everything(layout: Layout) -> Tiles:
    """Return all tiles of a layout."""
    return {
        number: set(range(tile_count(group[0].nbytes)))
        for number, group in enumerate(layout.file_groups)
    }


def without(tiles: Tiles, others: Tiles) -> Tiles:
    """Return the tiles that are not among the others."""
    left = {group: own - others.get(group, set()) for group, own in tiles.items()}
    return {group: own for group, own in left.items() if own}


def shares(target: Target, count: int) -> list[Tiles]:
    """Cut all tiles into shares of about the same size: consecutive tasks of the whole plan.

    The cut depends on the plan alone, so that all processes agree on it.
    """
    found: list[Tiles] = [{} for _ in range(count)]
    total, at = target.layout.nbytes, 0
    fine = min(TASK_BYTES, total // (_TASKS_IN_SHARE * count))
    for task in tasks(target, {}, fine):
        nbytes = sum(run.nbytes(target.layout) for run in task)
        own = found[min(count - 1, (2 * at + nbytes) * count // max(1, 2 * total))]
        at += nbytes
        for run in task:
            own.setdefault(run.file_group, set()).update(run.tiles)
    return found


def bytes_of(layout: Layout, tiles: Tiles) -> int:
    """Count the bytes of tiles, in all files of their groups."""
    nbytes = 0
    for number, own in tiles.items():
        group = layout.file_groups[number]
        ranges = (tile_range(tile, group[0].nbytes) for tile in own)
        nbytes += len(group) * sum(stop - start for start, stop in ranges)
    return nbytes
