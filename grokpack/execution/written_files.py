"""State of each written file, put together from the receipts of its tiles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grokpack.core.tiles import tile_count
from grokpack.storage import WrittenParts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grokpack.core.layout import FileLayout, Layout
    from grokpack.execution.receipt import Receipt
    from grokpack.storage import FileMark


@dataclass(slots=True)
class _Collected:
    nbytes: int
    sums: dict[int, str] = field(default_factory=dict)
    marks: list[FileMark] = field(default_factory=list)


def written_files(layout: Layout, receipts: Iterable[Receipt]) -> dict[str, WrittenParts]:
    """Return what is written of each file that has a receipt or no tiles, by path."""
    found = _collected(layout, receipts)
    for file in layout.files():
        if not file.nbytes:
            found.setdefault(file.path, _Collected(0))
    return _written(found)


def _collected(layout: Layout, receipts: Iterable[Receipt]) -> dict[str, _Collected]:
    found: dict[str, _Collected] = {}
    for receipt in receipts:
        for number, file in enumerate(layout.file_groups[receipt.file_group]):
            _collect(found, file, receipt, number)
    return found


def _written(found: dict[str, _Collected]) -> dict[str, WrittenParts]:
    return {
        path: WrittenParts(row.nbytes, row.sums, tuple(row.marks), _is_whole(row))
        for path, row in found.items()
    }


def _collect(found: dict[str, _Collected], file: FileLayout, receipt: Receipt, number: int) -> None:
    """Take in what a receipt says of one file of its group."""
    if receipt.compressed:
        compressed = receipt.compressed[number]
        row = _Collected(compressed.nbytes, dict(enumerate(compressed.sums)))
        found[file.path] = row
    else:
        row = found.setdefault(file.path, _Collected(file.nbytes))
        row.sums.update(zip(receipt.tiles, receipt.sums[number], strict=True))
    if receipt.marks:
        row.marks.append(receipt.marks[number])


def _is_whole(row: _Collected) -> bool:
    return len(row.sums) == tile_count(row.nbytes)


class WholeFiles:
    """Files that become whole while a run writes their tiles.

    Args:
        layout: The files of the output.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._receipts: dict[int, list[Receipt]] = {}

    def add(self, receipts: Iterable[Receipt]) -> dict[str, WrittenParts]:
        """Take in receipts; return the files, by path, that are whole with them."""
        found: dict[str, WrittenParts] = {}
        for receipt in receipts:
            number = receipt.file_group
            own = self._receipts.setdefault(number, [])
            own.append(receipt)
            group = self._layout.file_groups[number]
            if sum(len(one.tiles) for one in own) == tile_count(group[0].nbytes):
                found |= _written(_collected(self._layout, own))  # a look at this group alone
                self._receipts[number] = []
        return found
