"""The canonical framing: the bytes that CPython's C pickler puts around numpy arrays.

The release was written with protocol 4 and numpy 1.x module names. Source of the framing rules:
PEP 3154 and CPython's `Modules/_pickle.c` (frames of 64 KiB, larger bytes objects outside frames).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from grokpack.errors import GrokpackError
from grokpack.pickles.reader import read
from grokpack.pickles.records import Pickled, StoredArray
from grokpack.tensor import ArraySpec, DType

if TYPE_CHECKING:
    from collections.abc import Sequence

FRAME_TARGET_BYTES = 64 * 1024  # a frame this full is closed; bytes this long go outside frames
FRAME_MINIMUM_BYTES = 4  # shorter frames are written bare
_SHORT, _U32 = 1 << 8, 1 << 32

_STATE = {DType.I8: ("i1", "|"), DType.F32: ("f4", "<"), DType.F16: ("f2", "<")}
"""Constructor argument and byte order in NumPy's dtype state."""


class _Writer:
    """Collects opcodes into frames; remembers where the payloads go."""

    def __init__(self) -> None:
        self.chunks: list[bytes | int] = [b"\x80\x04"]  # an int stands for a payload's length
        self._frame: list[bytes | int] = []
        self._memo: dict[str, int] = {}
        self._count = 0

    def emit(self, data: bytes) -> None:
        """One object's opcodes; a full frame is closed after it."""
        self._frame.append(data)
        if self._frame_bytes() >= FRAME_TARGET_BYTES:
            self.close()

    def known(self, key: str) -> bool:
        """Whether an object has entered the memo already."""
        return key in self._memo

    def memoized(self, data: bytes, key: str | None = None) -> None:
        """Opcodes of an object that enters the memo, or a reference to it if it has."""
        if key is not None and self.known(key):
            self.emit(b"h" + bytes([self._memo[key]]))
            return
        if key is not None:
            self._memo[key] = self._count
        self._count += 1
        self.emit(data + b"\x94")

    def text(self, text: str) -> None:
        """A short string."""
        raw = text.encode()
        self.memoized(b"\x8c" + bytes([len(raw)]) + raw, f"text {text}")

    def name(self, module: str, attribute: str) -> None:
        """A global: module and attribute by STACK_GLOBAL."""
        key = f"global {module} {attribute}"
        if self.known(key):
            self.memoized(b"", key)
            return
        self.text(module)
        self.text(attribute)
        self.memoized(b"\x93", key)

    def payload(self, nbytes: int) -> None:
        """A bytes object of `nbytes` that the caller will fill in; it enters the memo."""
        if nbytes < _SHORT:
            opcode = b"C" + bytes([nbytes])
        elif nbytes < _U32:
            opcode = b"B" + struct.pack("<I", nbytes)
        else:
            opcode = b"\x8e" + struct.pack("<Q", nbytes)
        if nbytes >= FRAME_TARGET_BYTES:
            self.close()
            self.chunks += [opcode, nbytes]
        else:
            self._frame += [opcode, nbytes]
        self._count += 1
        self.emit(b"\x94")

    def close(self) -> None:
        """End the frame."""
        nbytes = self._frame_bytes()
        if nbytes >= FRAME_MINIMUM_BYTES:
            self.chunks.append(b"\x95" + struct.pack("<Q", nbytes))
        self.chunks += self._frame
        self._frame = []

    def _frame_bytes(self) -> int:
        return sum(c if isinstance(c, int) else len(c) for c in self._frame)


def frame(values: ArraySpec, scales: ArraySpec | None) -> Pickled:
    """Lay out a pickle as the release would have it.

    Args:
        values: The plain array, or the weight.
        scales: Its scales, for a QuantizedWeight8bit; None for a plain array.
    """
    writer = _Writer()
    if scales is None:
        _array(writer, values)
    else:
        writer.name("__main__", "QuantizedWeight8bit")
        writer.emit(b")")
        writer.memoized(b"\x81")
        writer.memoized(b"}")
        writer.emit(b"(")
        writer.text("weight")
        _array(writer, values)
        writer.text("scales")
        _array(writer, scales)
        writer.emit(b"u")
        writer.emit(b"b")
    writer.emit(b".")
    writer.close()
    return _assemble(writer.chunks, values, scales)


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


def _array(writer: _Writer, spec: ArraySpec) -> None:
    """`_reconstruct(ndarray, (0,), b"b")`, then its state with the payload."""
    writer.name("numpy.core.multiarray", "_reconstruct")
    writer.name("numpy", "ndarray")
    writer.emit(b"K\x00")
    writer.memoized(b"\x85")
    writer.memoized(b"C\x01b", "bytes b")
    writer.memoized(b"\x87")
    writer.memoized(b"R")
    writer.emit(b"(")
    writer.emit(b"K\x01")
    _shape(writer, spec.shape)
    _dtype(writer, spec.dtype)
    writer.emit(b"\x89")
    writer.payload(spec.nbytes)
    writer.memoized(b"t")
    writer.emit(b"b")


def _integer(value: int) -> bytes:
    if value < 1 << 8:
        return b"K" + bytes([value])
    if value < 1 << 16:
        return b"M" + struct.pack("<H", value)
    if value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little")
    return b"\x8a" + bytes([len(raw)]) + raw


def _shape(writer: _Writer, shape: tuple[int, ...]) -> None:
    if not shape:
        writer.emit(b")")
        return
    short = {1: b"\x85", 2: b"\x86", 3: b"\x87"}.get(len(shape))
    if short is None:
        writer.emit(b"(")
    for size in shape:
        writer.emit(_integer(size))
    writer.memoized(short or b"t")


def _dtype(writer: _Writer, dtype: DType) -> None:
    key = f"dtype {dtype.value}"
    if writer.known(key):
        writer.memoized(b"", key)
        return
    writer.name("numpy", "dtype")
    if dtype is DType.BF16:
        writer.name("ml_dtypes", "bfloat16")
        order, sizes = "<", b"K\x02K\x02K\x50"
    else:
        code, order = _STATE[dtype]
        writer.text(code)
        sizes = b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00"
    writer.emit(b"\x89\x88")
    writer.memoized(b"\x87")
    writer.memoized(b"R", key)
    writer.emit(b"(K\x03")
    writer.text(order)
    writer.emit(b"NNN")
    writer.emit(sizes)
    writer.memoized(b"t")
    writer.emit(b"b")


class _Hollow:
    """A pickle whose payloads are not there: zeros stand for them."""

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
    """Whether these bytes, put around the payloads, make a pickle of exactly these arrays.

    Framing that comes from a manifest is checked like a file that comes from the network: what
    grokpack writes must be as harmless as what it reads.

    Raises:
        GrokpackError: GP204 to GP208 as `read`, for bytes that make no acceptable pickle.
    """
    specs = [values] if scales is None else [values, scales]
    if len(literals) != len(specs) + 1:
        return False
    hollow = _Hollow(literals, [spec.nbytes for spec in specs])
    try:
        found = read(hollow, "framing")
    except GrokpackError as error:
        if error.code == "GP209":  # made for arrays of other shapes
            return False
        raise
    return [a.spec for a in found.arrays()] == specs and found.literals == literals
