"""TensorStore arrays, opened in place or computed on read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorstore as ts

from grokpack import storage
from grokpack.core.layout import Box

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from grokpack.core.tensors import ArraySpec, Shape
    from grokpack.formats.ocdbt import Database

_NODES, _DATA = "index", "data/"  # locations of the nodes and the files of an index in memory


def begin_opening(
    spec: dict[str, Any], context: ts.Context | None = None
) -> ts.Future[ts.TensorStore]:
    """Begin to open an array for reading.

    A missing chunk is an error: TensorStore would otherwise silently give its fill value.
    """
    strict = {**spec, "fill_missing_data_reads": False}
    return ts.open(strict, read=True, open=True, context=context)


def open_array(spec: dict[str, Any], context: ts.Context | None = None) -> ts.TensorStore:
    """Open an array for reading."""
    return begin_opening(spec, context).result()


class MemoryIndex:
    """Indexes in memory into the files of one folder.

    Args:
        folder: Folder of the files.
    """

    nodes_path = _NODES
    data = _DATA

    def __init__(self, folder: str) -> None:
        self._context = ts.Context()
        self._folder = folder
        self._count = 0

    def open_array(self, database: Database, array: str) -> ts.TensorStore:
        """Open an array of an index that was made for `nodes_path` and `data`."""
        self._count += 1
        own = f"memory://{self._count}/"
        store = ts.KvStore.open(own, context=self._context).result()
        store[self.nodes_path] = database.nodes
        store["manifest.ocdbt"] = database.manifest
        files = {"driver": "file", "path": f"{storage.utf8(self._folder)}/"}
        base = {"driver": "kvstack", "layers": [{"base": own}, {"prefix": _DATA, "base": files}]}
        kvstore = {"driver": "ocdbt", "base": base, "manifest": own, "path": f"{array}/"}
        return open_array({"driver": "zarr3", "kvstore": kvstore}, self._context)


def open_computed(
    array: ArraySpec, chunk: Shape, make: Callable[[Box], np.ndarray]
) -> ts.TensorStore:
    """Return an array whose values are computed on each read.

    Args:
        array: Its shape and dtype.
        chunk: Shape computed at a time; a larger read computes several in parallel threads.
        make: Makes the raw unsigned integers of a box.
    """
    dtype = array.dtype.numpy()

    def read(domain: ts.IndexDomain, out: np.ndarray, _: Any) -> None:  # noqa: ANN401  # TensorStore's
        box = Box(tuple(domain.inclusive_min), tuple(domain.shape))
        out[...] = make(box).view(dtype)

    layout = ts.ChunkLayout(read_chunk_shape=chunk)
    return ts.virtual_chunked(read, dtype=ts.dtype(dtype), shape=array.shape, chunk_layout=layout)
