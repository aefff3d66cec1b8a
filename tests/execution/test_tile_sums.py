"""A tile counts as written once it is in every file of its group."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash

from grokpack.core.errors import Interrupted
from grokpack.execution.data_loop import Blocks, _OpenFiles
from grokpack.storage import hashing
from grokpack.storage.hashing import TileSums

_TILE = 8
_DATA = np.arange(20, dtype=np.uint8)


class _Writer:
    """Writer in memory that is interrupted at a byte."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.data, self._most = bytearray(), most

    def write(self, offset: int, data: memoryview) -> None:
        assert offset == len(self.data)
        if offset + len(data) > self._most:
            raise Interrupted("stopped while it waited")
        self.data += data

    def sync(self) -> None:
        pass

    def mark(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "TILE_BYTES", _TILE)


def _sums(*pieces: np.ndarray) -> tuple[str, ...]:
    return tuple(xxhash.xxh3_128(piece.tobytes()).hexdigest() for piece in pieces)


def test_slices_of_wide_rows_are_written_and_hashed_file_by_file() -> None:
    rows = _DATA.reshape(2, 10)
    writers, sums = [_Writer(), _Writer()], TileSums(2, 9)
    files = _OpenFiles([*writers], sums, 0, sparse=False)
    assert files.put(Blocks([rows[:, :5], rows[:, 5:]], 1, 10)) == 9
    left, right = (
        np.ascontiguousarray(part).reshape(-1)[1:] for part in (rows[:, :5], rows[:, 5:])
    )
    assert [bytes(writer.data) for writer in writers] == [left.tobytes(), right.tobytes()]
    assert sums.rows() == (_sums(left[:8], left[8:]), _sums(right[:8], right[8:]))


def test_a_tile_that_a_sibling_lacks_is_not_told_of() -> None:
    sums = TileSums(2, len(_DATA))
    files = _OpenFiles([_Writer(), _Writer(most=12)], sums, 0, sparse=False)
    files.put(Blocks([_DATA, _DATA], 0, 8))
    with pytest.raises(Interrupted):
        files.put(Blocks([_DATA, _DATA], 8, 20))
    assert sums.rows() == (_sums(_DATA[:8]),) * 2
