"""Parser of GGUF headers that bounds all counts, lengths and offsets.

Source of the rules: docs/gguf.md in the ggml repository. The `gguf` package maps the whole file and
trusts its counts; this parser reads the header alone, piece by piece, and keeps only what is
needed.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError, InputTooLarge, MalformedInput, Place
from grokpack.core.ggml_types import GGMLType
from grokpack.formats.gguf import ALIGNMENT, TensorInfo
from grokpack.formats.header_allowance import Allowance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.formats.pickle import Bytes


@dataclass(frozen=True, slots=True)
class ArrayLength:
    """Number of elements of an array among the values, whose elements are not kept."""

    count: int

    def __repr__(self) -> str:
        return f"an array of {self.count:,}"


HeaderValue = int | float | bool | str | ArrayLength

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)  # version 3 allows big-endian files, whose number reads otherwise
_MOST_VERSION = 1 << 16  # no version is this large
_SCALARS = {  # value types by number: gguf.h, gguf_type
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9
_OTHER_TYPES = {  # ggml.h: ggml_type
    9: "Q8_1",
    15: "Q8_K",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    41: "Q1_0",
}
"""Types that are refused by name."""
_MAX_HEADER_BYTES = 48 << 20  # Grok-1's vocabulary takes 3 MB, the largest of any model 20 MB
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 16  # llama.cpp's own limit for a file is lower
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
_MAX_TEXT_BYTES = 1 << 20  # of one key, name or kept value
_MAX_KEPT_BYTES = 16 << 20  # of all kept texts together
_MAX_SKIPPED = 1 << 21  # texts in arrays; the largest vocabulary with its merges has 800,000
_WINDOW_BYTES = 1 << 20
_COUNT_OF_KEYS = 16  # behind magic, version and the count of tensors


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """Parsed header.

    Attributes:
        keys: Scalars and strings by key; of arrays their lengths.
        tensors: Type and shape by name, in the order of the table.
        offsets: First byte of each tensor in the file.
        literal_bytes: Bytes before the first tensor.
    """

    keys: dict[str, HeaderValue]
    tensors: dict[str, TensorInfo]
    offsets: dict[str, int]
    literal_bytes: int


class _Cursor:
    """Forward reader of the beginning of a file, one window at a time."""

    def __init__(self, data: Bytes, path: str) -> None:
        self._data, self.path = data, path
        self._size = data.size()
        self._window, self._begins = b"", 0
        self._kept, self._skipped = _MAX_KEPT_BYTES, _MAX_SKIPPED
        self.at = 0

    def take(self, count: int) -> bytes:
        """Return the next bytes.

        Raises:
            GrokpackError: GP209 if the file ends before them, GP235 if the header becomes too long.
        """
        end = self._end(count)
        if end > self._begins + len(self._window):
            length = min(max(count, _WINDOW_BYTES), self._size - self.at)
            self._window, self._begins = self._data.read(self.at, length), self.at
        piece = self._window[self.at - self._begins : end - self._begins]
        self.at = end
        return piece

    def skip(self, count: int) -> None:
        """Skip bytes without reading them."""
        self.at = self._end(count)

    def _end(self, count: int) -> int:
        end = self.at + count
        if end > self._size:
            raise self.broken(f"{count:,} bytes do not fit the file")
        if end > _MAX_HEADER_BYTES:
            raise self.too_large(f"more than {_MAX_HEADER_BYTES:,} bytes")
        return end

    def number(self, form: str) -> int:
        """Return the next number of a `struct` format."""
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def text(self) -> str:
        """Return the next string."""
        length = self.number("<Q")
        if length > _MAX_TEXT_BYTES:
            raise self.broken(f"a text of {length:,} bytes")
        self._kept -= length
        if self._kept < 0:
            raise self.too_large(f"texts of more than {_MAX_KEPT_BYTES:,} bytes")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise self.broken("a text is not UTF-8") from error

    def skip_texts(self, count: int) -> None:
        """Skip an array of strings without reading them."""
        self._skipped -= count
        if self._skipped < 0:
            raise self.too_large(f"arrays of more than {_MAX_SKIPPED:,} texts")
        for _ in range(count):
            self.skip(self.number("<Q"))

    def too_large(self, what: str) -> GrokpackError:
        """Return the error for a header larger than any model's."""
        return InputTooLarge(f"the GGUF header has {what}", Place(self.path, self.at))

    def broken(self, what: str) -> GrokpackError:
        """Return the error for a header that breaks the rules here."""
        return MalformedInput(f"GGUF header is broken: {what}", Place(self.path, self.at))


def read(data: Bytes, path: str, allowance: Allowance | None = None) -> GgufHeader:
    """Read and check a header; no tensor is read.

    Args:
        data: The file.
        path: Its name in messages.
        allowance: Limit that this header shares with others; by default it has its own.

    Raises:
        GrokpackError: GP209 for a header that breaks the format's rules, GP219 for a version or a
            tensor type that grokpack does not read, GP235 for one larger than any model's.
    """
    cursor = _Cursor(data, path)
    if cursor.take(4) != _MAGIC:
        raise cursor.broken("it does not begin with GGUF")
    version = cursor.number("<I")
    if version not in _VERSIONS:
        raise _other_version(version, path)
    tensors, keys = cursor.number("<Q"), cursor.number("<Q")
    if tensors > _MAX_TENSORS or keys > _MAX_KEYS:
        raise cursor.broken(f"{tensors:,} tensors and {keys:,} keys")
    allowance = allowance or Allowance()
    allowance.take(path, arrays=tensors)
    values = _keys(cursor, keys)
    table = [_row(cursor, path) for _ in range(tensors)]
    allowance.take(path, nbytes=cursor.at)
    return _checked(cursor, values, table, data.size())


def texts(data: Bytes, path: str, wanted: str) -> Iterator[bytes]:
    """Yield the texts of an array among the keys of a header that `read` takes.

    Args:
        data: The file.
        path: Its name in messages.
        wanted: Key of the array; without such a key there are no texts.
    """
    cursor = _Cursor(data, path)
    cursor.skip(_COUNT_OF_KEYS)
    for _ in range(cursor.number("<Q")):
        key, kind = cursor.text(), cursor.number("<I")
        if key == wanted and kind == _ARRAY:
            yield from _texts(cursor)
            return
        _value(cursor, kind)


def _other_version(version: int, path: str) -> GrokpackError:
    what = f"GGUF version {version} is none of {', '.join(map(str, _VERSIONS))}"
    hint = None
    if version > _MOST_VERSION and not version & 0xFFFF:  # a small number in the other byte order
        what = "the file is big-endian, and GGUF is read in little-endian only"
        hint = "`gguf-convert-endian FILE little`, of the gguf package, turns it"
    return GrokpackError("GP219", what, Place(path, 4), hint=hint)


def _keys(cursor: _Cursor, count: int) -> dict[str, HeaderValue]:
    values: dict[str, HeaderValue] = {}
    for _ in range(count):
        key = cursor.text()
        if key in values:
            raise cursor.broken(f"the key `{key}` stands twice")
        values[key] = _value(cursor, cursor.number("<I"))
    return values


def _value(cursor: _Cursor, kind: int) -> HeaderValue:
    if kind in _SCALARS:
        form = _SCALARS[kind]
        number: HeaderValue = struct.unpack(form, cursor.take(struct.calcsize(form)))[0]
        return number
    if kind == _STRING:
        return cursor.text()
    if kind == _ARRAY:
        return _skip_array(cursor)
    raise cursor.broken(f"value type {kind}")


def _skip_array(cursor: _Cursor) -> ArrayLength:
    """Skip an array and return its length."""
    kind, count = cursor.number("<I"), cursor.number("<Q")
    if kind in _SCALARS:
        cursor.skip(count * struct.calcsize(_SCALARS[kind]))
    elif kind == _STRING:
        cursor.skip_texts(count)
    else:
        raise cursor.broken(f"an array of type {kind}")
    return ArrayLength(count)


def _texts(cursor: _Cursor) -> Iterator[bytes]:
    """Yield the texts of an array; nothing of one that holds none."""
    kind, count = cursor.number("<I"), cursor.number("<Q")
    for _ in range(count if kind == _STRING else 0):
        yield cursor.take(cursor.number("<Q"))


def _row(cursor: _Cursor, path: str) -> tuple[str, TensorInfo, int]:
    """Read one row of the table: name, type and shape, offset from the first tensor."""
    name = cursor.text()
    dimensions = cursor.number("<I")
    if not 0 < dimensions <= _MAX_DIMENSIONS:
        raise cursor.broken(f"`{name}` has {dimensions} dimensions")
    shape = tuple(cursor.number("<Q") for _ in range(dimensions))[::-1]
    number = cursor.number("<I")
    kind = GGMLType.numbered(number)
    if kind is None:
        own = f"{_OTHER_TYPES.get(number, 'unknown')} (ggml type {number})"
        what = f"`{name}` has type {own}, none of {', '.join(GGMLType.__members__)}"
        raise GrokpackError("GP219", what, Place(path, cursor.at))
    if 0 in shape or math.prod(shape) >= 1 << 48 or shape[-1] % kind.weights:
        raise cursor.broken(f"`{name}` has shape {shape}")
    return name, TensorInfo(kind, shape), cursor.number("<Q")


def _checked(
    cursor: _Cursor,
    keys: dict[str, HeaderValue],
    table: list[tuple[str, TensorInfo, int]],
    size: int,
) -> GgufHeader:
    """Check that tensors follow each other, aligned, within the file."""
    alignment = keys.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or alignment not in (1 << n for n in range(17)):
        raise cursor.broken(f"alignment {alignment!r}")
    first = -(-cursor.at // alignment) * alignment
    expected = 0
    for name, info, offset in table:
        if offset != expected:
            raise cursor.broken(f"`{name}` begins at {offset:,}, not at {expected:,}")
        end = offset + info.stored.nbytes
        if first + end > size:
            facts = (("expected", f"at least {first + end:,} bytes"), ("found", f"{size:,} bytes"))
            what = "file ends before its tensors do"
            raise MalformedInput(what, Place(cursor.path, size), facts)
        expected = -(-end // alignment) * alignment
    names = {name for name, _, _ in table}
    if len(names) != len(table):
        raise cursor.broken("a tensor stands twice")
    return GgufHeader(
        keys,
        {name: info for name, info, _ in table},
        {name: first + offset for name, _, offset in table},
        first,
    )
