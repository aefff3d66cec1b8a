"""Files that become whole: found without a look at all others, and only for who wants them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from grokpack.core.tiles import TILE_BYTES
from grokpack.execution.receipt import Receipt
from grokpack.execution.written_files import WholeFiles
from tests.support.checkpoints import synthesize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Groups(tuple[Any, ...]):
    """Groups of files that are looked up, and never gone through."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        message = "every file of the output was looked at"
        raise AssertionError(message)


def test_a_file_becomes_whole_without_a_look_at_other_groups() -> None:
    two = [SimpleNamespace(path=f"rank-{n}", nbytes=TILE_BYTES + 1) for n in range(2)]
    groups = _Groups([tuple(two), (SimpleNamespace(path="other", nbytes=1),)])

    def files() -> Iterator[Any]:
        return iter(groups)

    layout = SimpleNamespace(file_groups=groups, files=files)
    whole = WholeFiles(cast("Any", layout))
    assert whole.add([Receipt(0, 0, (("a",), ("b",)))]) == {}
    found = whole.add([Receipt(0, 1, (("c",), ("d",)))])
    assert {path: row.sums for path, row in found.items()} == {
        "rank-0": {0: "a", 1: "c"},
        "rank-1": {0: "b", 1: "d"},
    }
    assert all(row.nbytes == TILE_BYTES + 1 for row in found.values())
    assert whole.add([Receipt(1, 0, (("e",),))]).keys() == {"other"}


def test_where_files_wait_for_each_other_none_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(*_: object) -> None:
        pytest.fail("files were gathered that nobody takes")

    monkeypatch.setattr(WholeFiles, "add", add)
    synthesize(tmp_path / "out")
