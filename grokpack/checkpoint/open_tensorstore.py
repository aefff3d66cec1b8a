"""Arrays of a checkpoint as TensorStore arrays, opened in place or computed on read."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.checkpoint import Checkpoint
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.checkpoint.readers import virtual_store_reader as views
from grokpack.checkpoint.virtual_store import store_index
from grokpack.checkpoint.virtual_store.chunk_grid import banded_chunk_shape
from grokpack.core.counts import counted
from grokpack.core.errors import GrokpackError, UnusableValue
from grokpack.core.tensors import SCALES_SUFFIX, ArraySpec, DType
from grokpack.models import tensor_patterns
from grokpack.transforms.copies import Copy
from grokpack.transforms.dequantize import Cast, Dequantize

if TYPE_CHECKING:
    import tensorstore as ts

    from grokpack.core.layout import Box
    from grokpack.core.paths import StrPath
    from grokpack.core.tensors import Shape, TensorSpec
    from grokpack.models.architecture import Geometry

_FEW = 5  # names that an error lists
_FLOATS = (DType.BF16, DType.F16, DType.F32)
_LONG_NAMES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}


def open(path: StrPath | Checkpoint, head_dim: int | None = None) -> Opened:  # noqa: A001  # as in `grokpack.open`
    """Open a checkpoint's arrays by name, lazily: no value is read yet.

    Args:
        path: A checkpoint of any format that grokpack reads, or a view of one; a path, or what
            `open_checkpoint` gave.
        head_dim: Size of an attention head, if no config.json gives it.

    Raises:
        GrokpackError: GP226 if files changed since a view was made, and the errors of
            `open_checkpoint`.
    """
    if isinstance(path, Checkpoint):
        return Opened(path.place, path.geometry.head_dim)
    return Opened(os.fspath(path), head_dim)


class Opened(Mapping[str, "ts.TensorStore"]):
    """Arrays of a checkpoint, by name, each a `tensorstore.TensorStore`.

    Names are xAI's, or patterns that match one of them, as `inspect` takes them; the scales of a
    weight are `<name>/scales`. An array that the files hold as it
    is, is opened in place; one that they hold transposed or in blocks is computed on each read.

    Args:
        path: Path of the checkpoint.
        head_dim: Size of an attention head, if no config.json gives it.
    """

    def __init__(self, path: str, head_dim: int | None = None) -> None:
        self.path = path
        self._head_dim = head_dim
        self._view = views.read(path) if views.is_store(path) else None
        if self._view is None or not self._view.refuse_changes():
            _ = self.checkpoint
        self._opened: dict[str, ts.TensorStore] = {}

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint behind the arrays, with its headers read."""
        return open_checkpoint(self.path, self._head_dim)

    @property
    def geometry(self) -> Geometry:
        """Dimensions of the model."""
        return self.checkpoint.geometry

    @property
    def tensors(self) -> Mapping[str, TensorSpec]:
        """Tensors of the model by name, with shapes and dtypes, in file order."""
        return self.checkpoint.tensors

    def dequantized(self, dtype: object = "bf16") -> DequantizedTensors:
        """Return the tensors as floats: weights times their scales, computed on each read.

        Args:
            dtype: `bf16` (what xAI's code computes with), `f32` (exact) or `f16`; numpy's and
                TensorStore's names and types are accepted as well.

        Raises:
            GrokpackError: GP346 for another dtype.
        """
        return DequantizedTensors(self.checkpoint, _float(dtype))

    def __getitem__(self, name: str) -> ts.TensorStore:
        found = self._opened.get(name)
        if found is None:
            full = name if name in self._arrays else full_name(self.checkpoint, name, self._arrays)
            found = self._opened[name] = self._open(full)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays or super().__contains__(name)

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'array')} of {self.path}>"

    def _repr_html_(self) -> str:
        return self.checkpoint._repr_html_()  # as a notebook calls it

    @cached_property
    def _arrays(self) -> dict[str, ArraySpec]:
        return {n: a for t in self.tensors.values() for n, a in t.arrays().items()}

    @cached_property
    def _memory(self) -> Any:  # noqa: ANN401  # MemoryIndex, whose module loads TensorStore
        from grokpack.checkpoint.tensorstore.open_arrays import MemoryIndex

        return MemoryIndex(self.checkpoint.folder)

    def _open(self, name: str) -> ts.TensorStore:
        from grokpack.checkpoint.tensorstore import open_arrays

        if self._view is not None and self._view.holds_tensors:
            try:
                return open_arrays.open_array(self._view.spec(name))
            except ValueError:
                if name in self._arrays:
                    raise
        if name not in self._arrays:
            raise KeyError(name)
        if name in self.checkpoint.views or storage.is_url(self.checkpoint.folder):
            return self._compute(name)
        data, nodes = self._memory.data, self._memory.nodes_path
        database = store_index.database(self.checkpoint, data, nodes, [name])
        opened: ts.TensorStore = self._memory.open_array(database, name)
        return opened

    def _compute(self, name: str) -> ts.TensorStore:
        from grokpack.checkpoint.tensorstore.open_arrays import open_computed

        reader, array = ArrayReader(self.checkpoint), self._arrays[name]
        chunk = _tile(self.checkpoint, name, array)
        return open_computed(array, chunk, lambda box: reader.read(name, box))


class DequantizedTensors(Mapping[str, "ts.TensorStore"]):
    """Tensors of a checkpoint as floats, by name, computed when they are read.

    Args:
        checkpoint: The source.
        dtype: The dtype of the result.
    """

    def __init__(self, checkpoint: Checkpoint, dtype: DType) -> None:
        self.dtype = dtype
        self._checkpoint = checkpoint
        self._reader = ArrayReader(checkpoint)

    def __getitem__(self, name: str) -> ts.TensorStore:
        from grokpack.checkpoint.tensorstore.open_arrays import open_computed

        named = self._checkpoint.tensors
        tensor = named.get(name) or named[full_name(self._checkpoint, name, named)]
        array = ArraySpec(tensor.values.shape, self.dtype)
        if tensor.scales is None:
            op: Cast | Dequantize = Cast(name, tensor.values.dtype, self.dtype)
        else:
            op = Dequantize(tensor, self.dtype)

        def make(box: Box) -> Any:  # noqa: ANN401  # an array of raw integers
            return op.make(box, self._reader)

        return open_computed(array, _tile(self._checkpoint, name, array), make)

    def __iter__(self) -> Iterator[str]:
        return iter(self._checkpoint.tensors)

    def __len__(self) -> int:
        return len(self._checkpoint.tensors)

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'tensor')} of {self._checkpoint.place} as {self.dtype.label}>"


def full_name(checkpoint: Checkpoint, pattern: str, names: Collection[str]) -> str:
    """Return the only one of the names that a pattern matches.

    Raises:
        KeyError: It matches none or several; the error lists the nearest.
    """
    if not isinstance(pattern, str):
        raise KeyError(f"arrays have names, and {pattern!r} is none")
    words = pattern.removesuffix(SCALES_SUFFIX)
    try:
        matching = tensor_patterns.select(checkpoint.model.tensors(), words)
    except GrokpackError as error:
        near = ", ".join(value for _, value in error.facts)
        raise KeyError(f"{error.what}{f'; near: {near}' if near else ''}") from None
    found = [entry.name + pattern[len(words) :] for entry in matching]
    found = [name for name in found if name in names]
    if len(found) != 1:
        some = ", ".join(found[:_FEW]) + (", ..." if len(found) > _FEW else "")
        raise KeyError(f"{len(found)} arrays match `{pattern}`{f': {some}' if found else ''}")
    return found[0]


def _tile(checkpoint: Checkpoint, name: str, array: ArraySpec) -> Shape:
    """Return the shape computed at a time: a band of rows, or of columns if stored transposed."""
    view = checkpoint.views.get(name)
    if view is None or isinstance(view, Copy) or len(array.shape) < 2:  # noqa: PLR2004  # matrix
        return banded_chunk_shape(array.shape, array.dtype.itemsize)
    transposed = banded_chunk_shape(
        (*array.shape[:-2], array.shape[-1], array.shape[-2]), array.dtype.itemsize
    )
    return (*transposed[:-2], transposed[-1], transposed[-2])


def _float(dtype: object) -> DType:
    """Return the dtype that a user names.

    Raises:
        GrokpackError: GP346 if it is no float that grokpack writes.
    """
    text = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    label = _LONG_NAMES.get(str(text).lower(), str(text).lower())
    for known in _FLOATS:
        if dtype is known or label == known.label:
            return known
    raise UnusableValue.choice("dtype", text, (known.label for known in _FLOATS))
