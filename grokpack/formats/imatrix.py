"""Importance matrices of llama.cpp: GGUF, and the binary form before it, which is only read.

Both hold sums of squares of each weight's inputs, by the weight's name in GGUF, and how often they
were added to. Source: tools/imatrix and tools/quantize of llama.cpp.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.core.errors import MalformedInput, Place
from grokpack.core.ggml_types import GGMLType
from grokpack.formats import gguf, gguf_header
from grokpack.formats.gguf import TensorInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.core.layout import FileLayout
    from grokpack.formats.pickle import Bytes

SUFFIX = ".gguf"
KIND = "imatrix"
"""Value of `general.type` in the GGUF form."""
_MAGIC = b"GGUF"
_SUMS, _COUNTS = ".in_sum2", ".counts"
_MOST_ENTRIES = 1 << 16
_MOST_NAME = 1 << 10  # bytes
_MOST_MATRICES = 1 << 12
_F32 = 4


@dataclass(frozen=True, slots=True)
class InputSums:
    """Sums of squares of one weight's inputs.

    Attributes:
        offset: Byte of the file at which they begin, `f32[matrix, in]`.
        numbers: How many they are: of all experts together.
        counts: What to divide each matrix's by; zero where nothing was added. One count may stand
            for all matrices.
    """

    offset: int
    numbers: int
    counts: tuple[float, ...]


def read(data: Bytes, path: str) -> dict[str, InputSums]:
    """Read which weights a file has, by their names in GGUF; no sums are read.

    Raises:
        GrokpackError: GP209 for a file that is neither form.
    """
    if data.size() >= len(_MAGIC) and data.read(0, len(_MAGIC)) == _MAGIC:
        return _of_gguf(data, path)
    return _of_binary(data, path)


def _of_gguf(data: Bytes, path: str) -> dict[str, InputSums]:
    header = gguf_header.read(data, path)
    if header.keys.get("general.type") != KIND:
        raise MalformedInput("the GGUF is no importance matrix", Place(path))
    found = {}
    for name, info in header.tensors.items():
        weight = name.removesuffix(_SUMS)
        counts = header.tensors.get(weight + _COUNTS)
        if weight == name or counts is None:
            continue
        matrices = counts.stored.elements
        if (
            info.type is not GGMLType.F32
            or counts.type is not GGMLType.F32
            or matrices > _MOST_MATRICES
        ):
            raise MalformedInput(f"`{name}` is not in float32", Place(path))
        octets = data.read(header.offsets[weight + _COUNTS], _F32 * matrices)
        numbers = struct.unpack(f"<{matrices}f", octets)
        found[weight] = InputSums(header.offsets[name], info.stored.elements, numbers)
    return found


def _of_binary(data: Bytes, path: str) -> dict[str, InputSums]:
    """Read the form of before 2025: of each entry its name, calls, and means times calls."""
    found: dict[str, InputSums] = {}
    at, size = 4, data.size()
    (entries,) = _numbers(data, path, 0, 1)
    if not 0 < entries <= _MOST_ENTRIES:
        raise MalformedInput(f"no importance matrix: {entries:,} entries", Place(path, 0))
    for _ in range(entries):
        (length,) = _numbers(data, path, at, 1)
        if not 0 < length <= _MOST_NAME or at + length + 12 > size:
            raise MalformedInput(
                f"no importance matrix: a name of {length:,} bytes", Place(path, at)
            )
        name = data.read(at + 4, length).decode(errors="replace")
        calls, count = _numbers(data, path, at + 4 + length, 2)
        at += 12 + length
        if count <= 0 or at + _F32 * count > size:
            what = f"no importance matrix: {count:,} numbers of `{name[:64]}`"
            raise MalformedInput(what, Place(path, at))
        found[name] = InputSums(at, count, (float(max(calls, 1)),))
        at += _F32 * count
    return found


def _numbers(data: Bytes, path: str, at: int, count: int) -> tuple[int, ...]:
    if at + 4 * count > data.size():
        raise MalformedInput("no importance matrix: the file ends too early", Place(path, at))
    return struct.unpack(f"<{count}i", data.read(at, 4 * count))


@dataclass(frozen=True, slots=True)
class TextChunks:
    """Text by which an importance matrix was measured.

    Attributes:
        dataset: Name of the text's file.
        count: Number of whole chunks.
        size: Tokens of a chunk.
    """

    dataset: str
    count: int
    size: int


def arrays(name: str, sums: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of a weight in the GGUF form.

    Args:
        name: The weight's name in GGUF.
        sums: Sums of its inputs' squares, `[matrix, in]`.
        counts: Number of tokens in each matrix's sums, `[matrix]`; may be zero.
    """
    return {
        name + _SUMS: sums.astype(np.float32),
        name + _COUNTS: counts.astype(np.float32)[:, None],
    }


def lay_out(path: str, stored: Mapping[str, np.ndarray], chunks: TextChunks) -> FileLayout:
    """Lay out a file in the GGUF form, with its header.

    Raises:
        GrokpackError: GP307 if the `gguf` package is missing.
    """

    def add_keys(writer: Any) -> None:  # noqa: ANN401  # gguf.GGUFWriter
        writer.add_type(KIND)
        writer.add_array("imatrix.datasets", [chunks.dataset])
        writer.add_uint32("imatrix.chunk_count", chunks.count)
        writer.add_uint32("imatrix.chunk_size", chunks.size)

    infos = {name: TensorInfo(GGMLType.F32, values.shape) for name, values in stored.items()}
    (file,) = gguf.lay_out([path], [infos], add_keys, "")
    return file
