"""Cache of decoded chunks that the arrays of a store share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorstore as ts

from grokpack.checkpoint.tensorstore import chunk_reader
from grokpack.checkpoint.tensorstore.chunk_reader import ChunkReader
from grokpack.core.layout import Box

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ROWS = 1024


def test_bands_of_two_chunks_decode_each_chunk_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk_reader, "CACHE_BYTES", 0)  # as if the chunks were larger than it
    made = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(tmp_path / "a")}}
    chunked = ts.ChunkLayout(chunk_shape=[ROWS, ROWS])
    shape = [2 * ROWS, ROWS]
    array = ts.open(made, create=True, dtype=ts.int8, shape=shape, chunk_layout=chunked).result()
    array.write(np.arange(2 * ROWS * ROWS).reshape(shape).astype(np.int8)).result()

    reader = ChunkReader(str(tmp_path), largest_bytes=ROWS * ROWS)
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": "a"}}
    before = _evicted()
    for first in range(0, ROWS, 256):
        for chunk in (0, 1):
            reader.read(spec, Box((chunk * ROWS + first, 0), (256, ROWS)))
    assert _evicted() == before


def _evicted() -> int:
    """Count the chunks that left the caches of this process, to be decoded again if needed."""
    found = ts.experimental_collect_matching_metrics("/tensorstore/cache/evict_count")
    return sum(int(metric["values"][0]["value"]) for metric in found)
