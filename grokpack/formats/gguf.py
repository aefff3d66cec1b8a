"""GGUF, llama.cpp's format: keys and values, a table of tensors, then the aligned tensors.

The `gguf` package, llama.cpp's own, writes the bytes of the header and has the tables of types that
grokpack reads and does not write; grokpack streams the tensors.
Source of the rules: docs/gguf.md in the ggml repository.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.core import optional_imports
from grokpack.core.layout import ArraySlice, FileLayout, Literal, Segment, whole_box
from grokpack.core.tensors import ArraySpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from grokpack.core.ggml_types import GGMLType

EXTRA = "gguf"
ALIGNMENT = 32  # of tensors, unless a key says otherwise; GGUF_DEFAULT_ALIGNMENT


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Row of the table of tensors: type and shape, slowest axis first, `[out, in]`."""

    type: GGMLType
    shape: tuple[int, ...]

    @property
    def stored(self) -> ArraySpec:
        """Array of its bytes; the last axis of a quantized tensor counts bytes."""
        kind = self.type
        width = kind.nbytes // kind.stored.itemsize  # of a block, in elements
        return ArraySpec((*self.shape[:-1], self.shape[-1] // kind.weights * width), kind.stored)


def lay_out(
    paths: Sequence[str],
    groups: Sequence[Mapping[str, TensorInfo]],
    add_keys: Callable[[Any], None],
    arch: str,
) -> list[FileLayout]:
    """Lay out one file, or the files of a split, with their headers.

    Args:
        paths: Path of each file below the root.
        groups: The tensors of each file, in order.
        add_keys: Adds keys and values to a `gguf.GGUFWriter`; the first file holds them.
        arch: llama.cpp's name of the architecture.

    Raises:
        GrokpackError: GP307 if the `gguf` package is missing.
    """
    headers = _headers(groups, add_keys, arch)
    return [
        _file(path, header, group)
        for path, header, group in zip(paths, headers, groups, strict=True)
    ]


def _headers(
    groups: Sequence[Mapping[str, TensorInfo]], add_keys: Callable[[Any], None], arch: str
) -> list[bytes]:
    gguf = optional_imports.import_extra("gguf", EXTRA)

    writer = gguf.GGUFWriter(None, arch)
    add_keys(writer)
    writer.tensors = [{} for _ in groups]
    for table, group in zip(writer.tensors, groups, strict=True):
        for name, info in group.items():
            kind = gguf.GGMLQuantizationType(int(info.type))
            table[name] = gguf.gguf_writer.TensorInfo(
                shape=info.shape, dtype=kind, nbytes=info.stored.nbytes
            )
    streams = [io.BytesIO() for _ in groups]
    writer.fout, writer.state = streams, gguf.gguf_writer.WriterState.EMPTY
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    return [stream.getvalue() for stream in streams]


def _file(path: str, header: bytes, tensors: Mapping[str, TensorInfo]) -> FileLayout:
    segments: list[Segment] = [Literal(header + bytes(-len(header) % ALIGNMENT))]
    for name, info in tensors.items():
        array = info.stored
        segments.append(ArraySlice(name, whole_box(array.shape), array.dtype))
        padding = -array.nbytes % ALIGNMENT
        if padding:
            segments.append(Literal(bytes(padding)))
    return FileLayout(path, tuple(segments))


def products(blocks: np.ndarray, kind: GGMLType) -> np.ndarray:
    """Decode rows of blocks by llama.cpp's own package: `u8[row, bytes]` to `f32[row, weight]`.

    Raises:
        GrokpackError: GP307 if the package is missing.
    """
    package = optional_imports.import_extra("gguf", EXTRA)
    with np.errstate(all="ignore"):  # zero times an infinite scale is NaN
        made: np.ndarray = package.quants.dequantize(blocks, package.GGMLQuantizationType(kind))
    return made
