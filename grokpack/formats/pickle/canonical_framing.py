"""Canonical framing: the bytes that CPython's C pickler puts around numpy arrays.

The release was written with protocol 4 and numpy 1.x module names. Source of the framing rules: PEP
3154 and CPython's `Modules/_pickle.c` (frames of 64 KiB, larger bytes objects outside frames).
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING

from grokpack.core.errors import MalformedInput
from grokpack.core.tensors import ArraySpec, DType
from grokpack.formats.pickle.opcode_reader import read
from grokpack.formats.pickle.stored_arrays import Pickled, StoredArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FRAME_TARGET_BYTES = 64 * 1024  # a frame this full is closed; bytes this long go outside frames
FRAME_MINIMUM_BYTES = 4  # shorter frames are written bare
_SHORT, _U32 = 1 << 8, 1 << 32

_STATE = {DType.I8: ("i1", "|"), DType.F32: ("f4", "<"), DType.F16: ("f2", "<")}
"""Constructor argument and byte order in NumPy's dtype state."""

_UNSET = b"J\xff\xff\xff\xff"
_BUILTIN_NUMBERS = (_UNSET, _UNSET, b"K\x00")
RELEASED_BF16_FLAGS = 0x50
_NEWER_BF16_FLAGS = 0x40
"""Flags in bfloat16's state. Those of the release are of ml_dtypes up to 0.5.1. Later versions
write 0x40, which is not canonical and is kept in the manifest. jax accepts a file's bfloat16 only
with the flags of the ml_dtypes that it runs with, so a checkpoint must not mix them."""


class _Writer:
    """Writer that collects opcodes into frames and marks where payloads go.

    The pickler checks whether the frame is full only when it begins to save an object. The last
    opcodes of an object (its tuple, its memo entry) therefore stay in its frame.
    """

    def __init__(self, bf16_flags: int) -> None:
        self.bf16_flags = bf16_flags
        self.chunks: list[bytes | int] = [b"\x80\x04"]  # an int stands for a payload's length
        self._frame: list[bytes | int] = []
        self._frame_bytes = 0
        self._memo: dict[str, int] = {}
        self._count = 0

    def end(self, opcodes: bytes) -> None:
        """Write opcodes that complete an object, however full the frame is."""
        self._frame.append(opcodes)
        self._frame_bytes += len(opcodes)

    def begin(self, opcodes: bytes) -> None:
        """Write the first opcodes of an object; a full frame is closed first."""
        if self._frame_bytes >= FRAME_TARGET_BYTES:
            self.close()
        self.end(opcodes)

    def memoize(self, key: str | None = None) -> None:
        """Enter the last completed object into the memo."""
        if key is not None:
            self._memo[key] = self._count
        self._count += 1
        self.end(b"\x94")

    def recalled(self, key: str) -> bool:
        """Write a reference if the object is in the memo; return False if it has to be written."""
        if key not in self._memo:
            return False
        self.begin(b"h" + bytes([self._memo[key]]))
        return True

    def text(self, text: str) -> None:
        """Write a short string."""
        key, raw = f"text {text}", text.encode()
        if not self.recalled(key):
            self.begin(b"\x8c" + bytes([len(raw)]) + raw)
            self.memoize(key)

    def name(self, module: str, attribute: str) -> None:
        """Write a global: module and attribute by STACK_GLOBAL."""
        key = f"global {module} {attribute}"
        if not self.recalled(key):
            self.text(module)
            self.text(attribute)
            self.end(b"\x93")
            self.memoize(key)

    def payload(self, nbytes: int) -> None:
        """Write a bytes object of `nbytes`, whose contents the caller fills in."""
        self.begin(b"")
        if nbytes >= FRAME_TARGET_BYTES:
            self.close()
            self.chunks += [_bytes_opcode(nbytes), nbytes]
        else:
            self.end(_bytes_opcode(nbytes))
            self._frame.append(nbytes)
            self._frame_bytes += nbytes
        self.memoize()

    def close(self) -> None:
        """End the frame."""
        if self._frame_bytes >= FRAME_MINIMUM_BYTES:
            self.chunks.append(b"\x95" + struct.pack("<Q", self._frame_bytes))
        self.chunks += self._frame
        self._frame, self._frame_bytes = [], 0


def _bytes_opcode(nbytes: int) -> bytes:
    if nbytes < _SHORT:
        return b"C" + bytes([nbytes])
    if nbytes < _U32:
        return b"B" + struct.pack("<I", nbytes)
    return b"\x8e" + struct.pack("<Q", nbytes)


@cache  # the 770 files of the release have eight framings
def frame(
    values: ArraySpec, scales: ArraySpec | None, bf16_flags: int = RELEASED_BF16_FLAGS
) -> Pickled:
    """Lay out a pickle as the release has it.

    Args:
        values: The plain array, or the weight.
        scales: Its scales, for a QuantizedWeight8bit; None for a plain array.
        bf16_flags: Flags of bfloat16, as `bf16_flags()` finds them in other framing.
    """
    writer = _Writer(bf16_flags)
    if scales is None:
        _array(writer, values)
    else:
        _quantized(writer, values, scales)
    writer.end(b".")
    writer.close()
    return _assemble(writer.chunks, values, scales)


def bf16_flags(literals: Iterable[Sequence[bytes]]) -> int:
    """Return the flags of bfloat16 in these framings; by default the release's."""
    newer = b"".join(_bf16_numbers(_NEWER_BF16_FLAGS))
    found = any(newer in literal for framing in literals for literal in framing)
    return _NEWER_BF16_FLAGS if found else RELEASED_BF16_FLAGS


def _bf16_numbers(flags: int) -> tuple[bytes, ...]:
    """Return the opcodes of size, alignment and flags, as the pickler writes them."""
    return b"K\x02", b"K\x02", b"K" + bytes([flags])


def _assemble(
    chunks: Sequence[bytes | int], values: ArraySpec, scales: ArraySpec | None
) -> Pickled:
    literals, offsets, at = [b""], [], 0
    for chunk in chunks:
        if isinstance(chunk, int):
            offsets.append(at)
            literals.append(b"")
            at += chunk
        else:
            literals[-1] += chunk
            at += len(chunk)
    second = None if scales is None else StoredArray(scales, offsets[1])
    return Pickled(StoredArray(values, offsets[0]), second, tuple(literals), at)


def _quantized(writer: _Writer, values: ArraySpec, scales: ArraySpec) -> None:
    """Write an instance made without arguments, then the dict of its fields."""
    writer.name("__main__", "QuantizedWeight8bit")
    writer.begin(b")")
    writer.end(b"\x81")
    writer.memoize()
    writer.begin(b"}")
    writer.memoize()
    writer.end(b"(")
    writer.text("weight")
    _array(writer, values)
    writer.text("scales")
    _array(writer, scales)
    writer.end(b"ub")


def _array(writer: _Writer, spec: ArraySpec) -> None:
    """Write `_reconstruct(ndarray, (0,), b"b")`, then its state with the payload."""
    writer.name("numpy.core.multiarray", "_reconstruct")
    writer.name("numpy", "ndarray")
    _tuple(writer, (0,))
    if not writer.recalled("bytes b"):
        writer.begin(b"C\x01b")
        writer.memoize("bytes b")
    writer.end(b"\x87")
    writer.memoize()
    writer.end(b"R")
    writer.memoize()
    writer.begin(b"(")
    writer.begin(b"K\x01")
    _tuple(writer, spec.shape)
    _dtype(writer, spec.dtype)
    writer.begin(b"\x89")
    writer.payload(spec.nbytes)
    writer.end(b"t")
    writer.memoize()
    writer.end(b"b")


def _integer(value: int) -> bytes:
    if value < 1 << 8:
        return b"K" + bytes([value])
    if value < 1 << 16:
        return b"M" + struct.pack("<H", value)
    if value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little")
    return b"\x8a" + bytes([len(raw)]) + raw


def _tuple(writer: _Writer, items: tuple[int, ...]) -> None:
    if not items:
        writer.begin(b")")
        return
    short = {1: b"\x85", 2: b"\x86", 3: b"\x87"}.get(len(items))
    if short is None:
        writer.begin(b"(")
    for item in items:
        writer.begin(_integer(item))
    writer.end(short or b"t")
    writer.memoize()


def _dtype(writer: _Writer, dtype: DType) -> None:
    key = f"dtype {dtype.value}"
    if writer.recalled(key):
        return
    writer.name("numpy", "dtype")
    if dtype is DType.BF16:
        writer.name("ml_dtypes", "bfloat16")
        order, numbers = "<", _bf16_numbers(writer.bf16_flags)
    else:
        code, order = _STATE[dtype]
        writer.text(code)
        numbers = _BUILTIN_NUMBERS
    writer.begin(b"\x89")
    writer.begin(b"\x88")
    writer.end(b"\x87")
    writer.memoize()
    writer.end(b"R")
    writer.memoize(key)
    writer.begin(b"(")
    writer.begin(b"K\x03")
    writer.text(order)
    for opcodes in (b"N", b"N", b"N", *numbers):
        writer.begin(opcodes)
    writer.end(b"t")
    writer.memoize()
    writer.end(b"b")


class _ZeroPayloads:
    """Pickle whose payloads read as zeros."""

    def __init__(self, literals: Sequence[bytes], payloads: Sequence[int]) -> None:
        self._runs: list[tuple[int, bytes]] = []
        at = 0
        for literal, gap in zip(literals, (*payloads, 0), strict=True):
            self._runs.append((at, literal))
            at += len(literal) + gap
        self._size = at

    def size(self) -> int:
        return self._size

    def read(self, offset: int, nbytes: int) -> bytes:
        window = bytearray(nbytes)
        for start, literal in self._runs:
            low, high = max(start, offset), min(start + len(literal), offset + nbytes)
            if low < high:
                window[low - offset : high - offset] = literal[low - start : high - start]
        return bytes(window)


def check_literals(
    literals: tuple[bytes, ...], values: ArraySpec, scales: ArraySpec | None
) -> bool:
    """Return whether this framing, put around the payloads, makes a pickle of exactly these arrays.

    Framing from a manifest is checked like a file from the network: grokpack must not write what it
    would refuse to read.

    Raises:
        GrokpackError: GP204 to GP208 as `read`, for bytes that make no acceptable pickle.
    """
    specs = [values] if scales is None else [values, scales]
    if len(literals) != len(specs) + 1:
        return False
    zeros = _ZeroPayloads(literals, [spec.nbytes for spec in specs])
    try:
        found = read(zeros, "framing")
    except MalformedInput:  # made for arrays of other shapes
        return False
    return [a.spec for a in found.arrays()] == specs and found.literals == literals
