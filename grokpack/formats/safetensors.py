"""safetensors: an 8-byte header length, a JSON header, then the arrays without gaps.

Source of the rules: the format's specification in the safetensors repository. Offsets begin at 0,
leave no gap, do not overlap and cover the file to its end. A header that passes the checks here is
then given to the safetensors library itself, so that no file passes that other programs refuse.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack.core.errors import GrokpackError, MalformedInput, Place, UnsupportedLayout
from grokpack.core.layout import ArraySlice, FileLayout, Literal, Segment
from grokpack.core.tensors import ArraySpec, DType
from grokpack.formats import bounded_json, safetensors_library
from grokpack.formats.header_allowance import Allowance
from grokpack.formats.pickle import StoredArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from grokpack.core.layout import Box
    from grokpack.formats.pickle import Bytes

SUFFIX = ".safetensors"
COMMON = "TP-common"  # in the names of files that all ranks read
_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 8  # the reference writer pads the header so that the first array is 8-byte aligned
_MAX_DIMENSIONS = 16  # far above any tensor's; bounds what a hostile header can cost
_UNREAD = (
    *("BOOL", "I16", "U16", "U32", "U64", "F64", "C64"),
    *("F4", "F6_E2M3", "F6_E3M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"),
)
"""The format's other dtypes, which are refused by name."""
_LARGEST_SIZE = 1 << 63  # larger than any file


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """Parsed header.

    Attributes:
        arrays: Arrays in the order of their bytes.
        metadata: The `__metadata__` strings.
        literal: All bytes before the first array.
    """

    arrays: dict[str, StoredArray]
    metadata: dict[str, str]
    literal: bytes


def header_bytes(arrays: Mapping[str, ArraySpec], metadata: Mapping[str, str]) -> bytes:
    """Return the header for arrays stored in this order."""
    table: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, array in arrays.items():
        offsets = [offset, offset + array.nbytes]
        table[name] = {"dtype": array.dtype.value, "shape": array.shape, "data_offsets": offsets}
        offset += array.nbytes
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return _LENGTH.pack(len(text)) + text


def lay_out(path: str, boxes: Mapping[str, Box], arrays: Mapping[str, ArraySpec]) -> FileLayout:
    """Lay out a file that holds regions of arrays, in this order.

    Args:
        path: Path of the file below the root.
        boxes: The region of each array.
        arrays: Shape and dtype of the whole arrays.
    """
    specs = {name: ArraySpec(box.shape, arrays[name].dtype) for name, box in boxes.items()}
    header = header_bytes(specs, {"format": "pt"})
    slices: list[Segment] = [
        ArraySlice(name, box, arrays[name].dtype) for name, box in boxes.items()
    ]
    return FileLayout(path, (Literal(header), *slices))


def lay_out_like(file: FileLayout, path: str, boxes: Mapping[str, Box]) -> FileLayout:
    """Lay out a file with the header of another: other regions, of the same shapes, in its order.

    Args:
        file: A file as `lay_out` makes it.
        path: Path of the new file below the root.
        boxes: The region of each array.
    """
    header, *slices = file.segments
    moved = (
        ArraySlice(old.array, boxes[old.array], old.dtype)
        for old in slices
        if isinstance(old, ArraySlice)
    )
    return FileLayout(path, (header, *moved))


def check_written(path: str, header: bytes, nbytes: int) -> None:
    """Check that the safetensors library opens a written file, before it is published.

    Args:
        path: The file.
        header: Its first bytes, as `header_bytes` made them.
        nbytes: Its size.

    Raises:
        GrokpackError: GP901 if the library refuses it.
    """
    reason = safetensors_library.refusal(header, nbytes)
    if reason is not None:
        what = f"the safetensors library refuses a header that was written: {reason}"
        raise GrokpackError("GP901", what, Place(path))


def aligned(names: Iterable[str], arrays: Mapping[str, ArraySpec]) -> list[str]:
    """Sort wider elements first, so that each array begins at a multiple of its element size."""
    return sorted(names, key=lambda name: -arrays[name].dtype.itemsize)


def shards(sizes: Mapping[str, int], limit_bytes: int) -> Iterator[list[str]]:
    """Yield the names of each file of at most this size; a larger array has its own file."""
    shard: list[str] = []
    nbytes = 0
    for name, size in sizes.items():
        if shard and nbytes + size > limit_bytes:
            yield shard
            shard, nbytes = [], 0
        shard.append(name)
        nbytes += size
    if shard:
        yield shard


def named(shards: Iterable[list[str]], rank: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yield each shard with the name of its file: `model-00001-of-00009.safetensors`.

    Args:
        shards: Names of arrays, file by file.
        rank: What stands in place of their number where they are one rank's: `TP-003`.
    """
    listed = list(shards)
    ending = rank or f"of-{len(listed):05d}"
    for number, shard in enumerate(listed, 1):
        yield file_name("model", number, ending), shard


def file_name(stem: str, number: int, ending: str) -> str:
    """Return the name of one of several files: `pytorch_model-00006-TP-005.safetensors`."""
    return f"{stem}-{number:05d}-{ending}{SUFFIX}"


def of_rank(rank: int) -> str:
    """Return what stands in the names of files that one rank reads: `TP-005`."""
    return f"TP-{rank:03d}"


def read(data: Bytes, path: str, allowance: Allowance | None = None) -> SafetensorsHeader:
    """Read and check a header; no array is read.

    Args:
        data: The file.
        path: Its name in messages.
        allowance: Limit that this header shares with others; by default it has its own.

    Raises:
        GrokpackError: GP209 for a header that breaks the format's rules or that the safetensors
            library refuses, GP208 for a dtype that no Grok-1 checkpoint has, GP235 for one larger
            than any of Grok-1.
    """
    size, allowance = data.size(), allowance or Allowance()
    if size < _LENGTH.size:
        raise _broken(path, f"{size} bytes are too few for a header", 0)
    (length,) = _LENGTH.unpack(data.read(0, _LENGTH.size))
    if length > size - _LENGTH.size:
        raise _broken(path, f"header of {length:,} bytes does not fit", 0)
    if length > bounded_json.MOST_BYTES:
        raise bounded_json.too_large(length, Place(path))
    allowance.take(path, nbytes=length)
    literal = data.read(0, _LENGTH.size + length)
    allowance.take(path, arrays=literal.count(b"{"))
    arrays, metadata = _parse(literal, path)
    header = SafetensorsHeader(_contiguous(path, arrays, len(literal), size), metadata, literal)
    reason = safetensors_library.refusal(literal, size)
    if reason is not None:
        raise _broken(path, f"the safetensors library refuses it: {reason}", 0)
    return header


def _parse(literal: bytes, path: str) -> tuple[list[tuple[str, StoredArray, int]], dict[str, str]]:
    """Parse the rows of the table, checked one by one, and the metadata."""
    table = bounded_json.parse(literal[_LENGTH.size :], Place(path, _LENGTH.size))
    if not isinstance(table, dict):
        raise _broken(path, "header is not a JSON object", _LENGTH.size)
    metadata = _strings(table.pop("__metadata__", {}))
    return [_entry(path, name, row, len(literal)) for name, row in table.items()], metadata


def _strings(metadata: object) -> dict[str, str]:
    if not isinstance(metadata, dict):
        return {}
    return {key: text for key, text in metadata.items() if isinstance(text, str)}


def _entry(path: str, name: str, row: object, begins: int) -> tuple[str, StoredArray, int]:
    """Check one row of the table: name, array, end offset."""
    try:
        dtype, shape, (start, stop) = row["dtype"], row["shape"], row["data_offsets"]  # type: ignore[index]
        numbers = [*shape, start, stop]
    except (TypeError, KeyError, ValueError) as error:
        raise _broken(path, f"`{name}` lacks dtype, shape or offsets", 8) from error
    if len(numbers) > _MAX_DIMENSIONS or not all(_is_size(n) for n in numbers):
        raise _broken(path, f"`{name}` has a shape or offsets that are no sizes", 8)
    if not isinstance(dtype, str) or dtype not in (*DType.__members__, *_UNREAD):
        raise _broken(path, f"`{name}` has dtype {str(dtype)[:20]}, which the format lacks", 8)
    if dtype in _UNREAD:
        width = "FP" + dtype[1] if dtype.startswith(("F8", "F6", "F4")) else ""
        what = f"dtype {dtype}{f' ({width})' if width else ''} is not read"
        hint = "take a copy in bfloat16, float16 or float32, or start from the release"
        raise UnsupportedLayout(what, Place(path, tensor=name), hint=hint)
    spec = ArraySpec(tuple(shape), DType(dtype))
    if stop - start != spec.nbytes:
        raise _broken(path, f"`{name}` needs {spec.nbytes:,} bytes, has {stop - start:,}", 8)
    return name, StoredArray(spec, begins + start), begins + stop


def _is_size(number: object) -> bool:
    return type(number) is int and 0 <= number < _LARGEST_SIZE


def _contiguous(
    path: str, rows: list[tuple[str, StoredArray, int]], begins: int, size: int
) -> dict[str, StoredArray]:
    rows.sort(key=lambda row: (row[1].offset, row[2]))
    at = begins
    for name, array, end in rows:
        if array.offset != at:
            kind = "overlaps what is before it" if array.offset < at else "leaves a gap before it"
            raise _broken(path, f"`{name}` {kind}", array.offset)
        at = end
    if at != size:
        facts = (("expected", f"{at:,} bytes"), ("found", f"{size:,} bytes"))
        raise MalformedInput("file size is not what its header says", Place(path, at), facts)
    return {name: array for name, array, _ in rows}


def _broken(path: str, what: str, byte: int) -> GrokpackError:
    return MalformedInput(what, Place(path, byte))
