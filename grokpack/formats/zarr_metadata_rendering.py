"""Rendering of the metadata of zarr 3 stores: `zarr.json` of arrays and groups.

Source: the zarr 3 specification with its sharding-indexed codec.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from grokpack.core.tensors import DType
from grokpack.formats.zarr_shards import FLOATS, LEVEL, NAMES, NAMES_OF_OCTETS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.core.tensors import ArraySpec, Shape
    from grokpack.formats.zarr_shards import ShardGrid

_ENDIAN: dict[str, Any] = {"configuration": {"endian": "little"}}
_CRC: dict[str, Any] = {"name": "crc32c"}
_ZSTD: dict[str, Any] = {"name": "zstd", "configuration": {"level": LEVEL, "checksum": False}}
_NOTICED = {DType.I8: -128, DType.U8: 255}  # ends of the range; -1 in others is all bits set


def sharded_array(
    spec: ArraySpec,
    grid: ShardGrid,
    attributes: Mapping[str, Any] | None = None,
    axes: tuple[str, ...] | None = None,
    *,
    compressed: bool = False,
) -> bytes:
    """Render the document of an array in shards of chunks with checksums."""
    sharding = {
        "chunk_shape": grid.chunk,
        "codecs": [_bytes_codec(spec.dtype), *([_ZSTD] if compressed else []), _CRC],
        "index_codecs": [{"name": "bytes", **_ENDIAN}, _CRC],
        "index_location": "end",
    }
    document = _array(spec, grid.shard) | {
        "fill_value": 0.0 if spec.dtype in FLOATS else 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
    }
    if axes:
        document["dimension_names"] = axes
    if attributes:
        document["attributes"] = attributes
    return _indented(document)


def group(attributes: Mapping[str, Any] | None = None) -> bytes:
    """Render the document of a group."""
    return _indented(_group(attributes))


def inline_array(
    spec: ArraySpec, chunk: Shape, attributes: Mapping[str, Any] | None = None
) -> bytes:
    """Render the document of an array of plain chunks on one line, for an index.

    The fill value of missing chunks is chosen to be noticed: NaN, or the value at the end of the
    range. Zeros could pass for weights.
    """
    floats = spec.dtype in (*FLOATS, *NAMES_OF_OCTETS)
    noticed = None if floats else _NOTICED.get(spec.dtype, -1)
    return _on_one_line(
        _array(spec, chunk)
        | {
            "codecs": [_bytes_codec(spec.dtype)],
            "fill_value": "NaN" if noticed is None else noticed,
            "attributes": dict(attributes or {}),
        }
    )


def inline_group() -> bytes:
    """Render the document of a group on one line, for an index."""
    return _on_one_line(_group())


def _array(spec: ArraySpec, file: Shape) -> dict[str, Any]:
    """Return what documents of all arrays begin with; a file holds a chunk or shard."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": spec.shape,
        "data_type": (NAMES | NAMES_OF_OCTETS)[spec.dtype],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": file}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    }


def _group(attributes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}


def _bytes_codec(dtype: DType) -> dict[str, Any]:
    """Return the codec of plain elements, little-endian where they have several bytes."""
    return {"name": "bytes", **(_ENDIAN if dtype.itemsize > 1 else {})}


def _indented(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()


def _on_one_line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
