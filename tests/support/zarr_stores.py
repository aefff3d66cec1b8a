"""zarr folders by the word of others: what they find in one, and how they write one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorstore as ts

from grokpack.models import architecture
from tests.oracle.forward import files, stored

if TYPE_CHECKING:
    import numpy as np

UNEVEN = architecture.Geometry(
    vocab=331, d_model=72, layers=2, experts=3, ffn=104, q_width=64, kv_width=64, head_dim=8
)
"""Widths that chunks of a few kilobytes do not divide."""


def leaves(source: Path, layers: int) -> Iterator[tuple[str, np.ndarray]]:
    """Every array of a checkpoint by its path in a store, from the pickles."""
    for name, path in files(source / "ckpt-0", layers).items():
        values, scales = stored(path)
        yield name, values
        if scales is not None:
            yield f"{name}_scales", scales


def by_tensorstore(folder: Path) -> np.ndarray:
    spec = {"driver": "zarr3", "kvstore": f"file://{folder}/", "fill_missing_data_reads": False}
    values: np.ndarray = ts.open(spec, read=True, open=True).result().read().result()
    return values


def write_tensorstore(root: Path, path: str, values: np.ndarray, driver: str) -> None:
    chunks = tuple(max(1, 5 * n // 8) for n in values.shape)
    kinds = {"bfloat16": "bfloat16", "int8": "|i1", "float32": "<f4"}
    described: dict[str, Any] = {"shape": values.shape}
    if driver == "zarr":
        kind = kinds[values.dtype.name]
        described |= {"chunks": chunks, "dtype": kind, "compressor": {"id": "zstd"}}
    else:
        grid = {"name": "regular", "configuration": {"chunk_shape": chunks}}
        described |= {"chunk_grid": grid, "data_type": values.dtype.name}
    spec = {
        "driver": driver,
        "kvstore": f"file://{root / path}/",
        "metadata": described,
        "store_data_equal_to_fill_value": True,
    }
    ts.open(spec, create=True).result().write(values).result()


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


QUERY = "transformer/decoder_layer_0/multi_head_attention/query/w"
