"""zarr.json of arrays and groups, version 3.

Source: the zarr specification, version 3, sections "Array metadata" and "Group metadata".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from grokpack.formats.zarr import FLOATS, NAMES
from grokpack.tensor import DType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.tensor import ArraySpec, Shape

_SMALLEST = {DType.I8: -128, DType.U8: 255}


def array_json(
    array: ArraySpec, chunk: Shape, attributes: Mapping[str, Any] | None = None
) -> bytes:
    """An array of uncompressed little-endian chunks.

    What a missing chunk reads as is chosen to be noticed: NaN, or the value at the end of the
    range; zeros could be weights.
    """
    endian = {"configuration": {"endian": "little"}} if array.dtype.itemsize > 1 else {}
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": array.shape,
        "data_type": NAMES[array.dtype],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "bytes", **endian}],
        "fill_value": "NaN" if array.dtype in FLOATS else _SMALLEST.get(array.dtype, -1),
        "attributes": dict(attributes or {}),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def group_json(attributes: Mapping[str, Any] | None = None) -> bytes:
    """A group."""
    document = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}
    return json.dumps(document, separators=(",", ":")).encode()
