"""Strips of GGUF's blocks, compiled: values read, heads of blocks, bytes and accounts written.

All functions work on 64 columns. What a column (a lane) has once lies in one flat array, at
constant offsets: loops over lanes become vector instructions, and have no branches for that reason.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from grokpack.kernels.compiled import allocate, inner
from grokpack.kernels.compiled._vectors.byte_copies import LINE, copy, copy_line, prefetch
from grokpack.kernels.compiled._vectors.byte_transposition import SIDE
from grokpack.kernels.compiled._vectors.byte_transposition import (
    transpose_square as transpose_bytes,
)
from grokpack.kernels.compiled._vectors.float_transposition import SIDE as SQUARE
from grokpack.kernels.compiled._vectors.float_transposition import transpose_square, widen_square
from grokpack.kernels.compiled._vectors.float_vectors import (
    LANES,
    bfloat16s,
    float32s,
    int8s,
    store,
    vector,
)

WIDTH = 64  # columns of a strip; a block of their weights is 8 KiB as float32
BLOCK = 32
PART = 8  # blocks of a column that are written at once: their bytes make whole squares
ROWS = 4  # rows of an unrolled loop
Scalar = Any  # float32 or int32; numba infers which, and never mixes them
Source: TypeAlias = tuple[np.ndarray, int, int, bool, np.ndarray, int, int]
"""Values as bytes; bytes of a value, of which 1 is for codes, 2 for bfloat16, 4 for float32; values
that lie side by side; True if those are of a column; scales `f32[group, column]`; first column;
rows that share a scale."""
_CODE, _BF16, _F32 = 1, 2, 4  # bytes of a value
F: Any = np.float32
I: Any = np.int32  # noqa: E741  # stands in every line of arithmetic
ZERO, ONE, HALF = F(0), F(1), F(0.5)
MAGIC = F(12582912)
INFINITE = F(np.inf)
_TO_INF, _TO_ZERO, _RAISE = F(2.0**112), F(2.0**-110), F(2.0**112)

# Lanes of a fit: scale, minimum, both as float16 bits (a number up to 65,535), its error.
D, M, HEAD, HEAD_M, ERROR = 0, 64, 128, 192, 256
# Inputs of a fit: scale and minimum as float32, multiplier, base.
RAW, RAW_M, INVERSE, BASE = 320, 384, 448, 512
# Values of a block: farthest, least, largest, and running sums.
FAR, LOW, HIGH, SUM = 576, 640, 704, 768
SUM_2, SUM_3 = 832, 896
# Codes at either end of their range; nonzero weights that became zero.
END, GONE = 960, 1024
_LANES = 1088


def scratch(height: int = BLOCK) -> tuple[np.ndarray, ...]:
    """Allocate weights, codes and lanes of a block, its values as bytes, and counts of ends."""
    return (
        allocate((height, WIDTH), np.float32),
        allocate((height, WIDTH), np.int8),
        allocate((_LANES,), np.float32),
        allocate((height * WIDTH * _F32,), np.uint8),
        allocate((WIDTH,), np.int8),
    )


def source_of(values: np.ndarray, scales: np.ndarray, column: int, per_group: int) -> Source:
    """Return the input of a quantizer in one form, whatever the type of its values is."""
    turned = values.T.flags.c_contiguous and not values.flags.c_contiguous
    lying = np.ascontiguousarray(values.T if turned else values)
    octets = lying.reshape(-1).view(np.uint8)
    return octets, lying.itemsize, lying.shape[1], turned, scales, column, per_group


def has_exact_products(source: Source) -> bool:
    """Tell if values times scales times codes of four bits fit float32's 24: codes and bfloat16."""
    _, size, _, _, scales, _, _ = source
    rest = np.ascontiguousarray(scales).view(np.uint32) & np.uint32(0xFFFF)
    return size < _F32 and not rest.any()


@inner
def ahead_of(source: Source, block: int, blocks: int, height: int) -> int:
    """Return the bytes from a block of so many rows to the next one: below it, or at the right.

    Blocks are taken column by column, a strip of as many as `blocks` after the other.
    """
    _, size, pitch, turned, _, _, _ = source
    down, right = (size, pitch * size) if turned else (pitch * size, size)
    ahead: int = height * down if block + 1 < blocks else WIDTH * right - block * height * down
    return ahead


@inner
def to_f16(value: Scalar) -> Scalar:
    """Convert to float16 bits, to nearest even; a NaN becomes the quiet one without sign.

    The sum with a power of two rounds to the bits that float16 keeps. Source of the idea:
    github.com/Maratyszcza/FP16, which ggml uses too.
    """
    bits = F(value).view(np.int32)
    magnitude = I(bits & I(0x7FFFFFFF))
    base = (abs(value) * _TO_INF) * _TO_ZERO
    bias = I(magnitude & I(0x7F800000))
    bias = max(I(947912704), bias)
    rounded = F(I(bias + I(0x07800000)).view(np.float32) + base).view(np.int32)
    half = I(I(I(rounded >> I(13)) & I(0x7C00)) + I(rounded & I(0xFFF)))
    sign = I(I(bits >> I(16)) & I(0x8000))
    return I(0x7E00) if magnitude > I(0x7F800000) else I(sign | half)


@inner
def from_f16(half: Scalar) -> Scalar:
    """Convert float16 bits to float32, exactly."""
    magnitude = I(half & I(0x7FFF))
    finite = I(magnitude << I(13)).view(np.float32) * _RAISE
    other = I(I(magnitude << I(13)) | I(0x7F800000)).view(np.float32)
    value = finite if magnitude < I(0x7C00) else other
    return -value if I(half & I(0x8000)) != I(0) else value


@inner
def pick(condition: bool, one: Scalar, other: Scalar) -> Scalar:  # noqa: FBT001
    """Select one of two values.

    Written out where a lane is updated, it would become a conditional store, which keeps the loop
    from becoming vector instructions.
    """
    return one if condition else other


@inner
def load(
    source: Source,
    place: tuple[int, int, int, int],
    part: np.ndarray,
    x: np.ndarray,
    lanes: np.ndarray,
) -> None:
    """Load values times scales, and leave the last scales in RAW.

    Args:
        source: All values.
        place: First row of as many as `x` has; first column; columns; bytes to what is loaded next.
        part: Scratch for the values of fewer columns than a strip has.
        x: Filled; columns beyond the last one hold anything.
        lanes: Lanes of the fit.
    """
    raw, size, pitch, turned, scales, first, per_group = source
    row, column, width, ahead = place
    at, step, octets, begin = (row * pitch + first + column) * size, pitch * size, raw, 0
    if turned:
        _turn(source, place, part.view(np.float32))
        at, step, size, octets, ahead = 0, WIDTH * _F32, _F32, part, 0
    elif width < WIDTH:
        for r in range(len(x)):
            copy(raw, at + r * step, part, r * WIDTH * size, width * size)
        at, step, octets, ahead = 0, WIDTH * size, part, 0
    while begin < len(x):
        group = (row + begin) // per_group
        end = min(len(x), (group + 1) * per_group - row)
        own = (group * scales.shape[1] + first + column) * _F32
        copy(scales, own, lanes, RAW * _F32, width * _F32)
        for r in range(begin, end):
            start = at + r * step
            for n in range(0, WIDTH * size, LINE):
                prefetch(octets, start + ahead + n)
            _multiply(octets, start, size, lanes, x, r * WIDTH)
        begin = end


@inner
def _turn(source: Source, place: tuple[int, int, int, int], to: np.ndarray) -> None:
    """Transpose a strip of a block to float32, `to f32[row * WIDTH]`."""
    raw, size, pitch, _, _, first, _ = source
    row, column, width, ahead = place
    # Squares of the last columns overlap; of few columns, each has a square of its own.
    by, step = (SQUARE, pitch) if width >= SQUARE else (1, 0)
    for c in range(0, width, by):
        left = min(c, width - by)
        at = (first + column + left) * pitch + row
        for k in range(by):
            for n in range(0, len(to) // WIDTH * size, LINE):
                prefetch(raw, (at + k * step) * size + ahead + n)
        for r in range(0, len(to) // WIDTH, SQUARE):
            if size == _BF16:
                widen_square(raw, at + r, step, to, r * WIDTH + left, WIDTH)
            else:
                transpose_square(raw, at + r, step, to, r * WIDTH + left, WIDTH)


@inner
def _multiply(
    octets: np.ndarray, at: int, size: int, lanes: np.ndarray, x: np.ndarray, to: int
) -> None:
    """Multiply a row of values by the scales in RAW."""
    if size == _CODE:
        for c in range(0, WIDTH, LANES):
            store(int8s(octets, at + c) * vector(lanes, RAW + c), x, to + c)
    elif size == _BF16:
        for c in range(0, WIDTH, LANES):
            store(bfloat16s(octets, at + 2 * c) * vector(lanes, RAW + c), x, to + c)
    else:
        for c in range(0, WIDTH, LANES):
            store(float32s(octets, at + 4 * c) * vector(lanes, RAW + c), x, to + c)


@inner
def round_head(lanes: np.ndarray, raw: int, head: int, to: int) -> None:
    """Round numbers to float16: `head` receives their bits, `to` their values."""
    for c in range(WIDTH):
        half = to_f16(lanes[raw + c])
        lanes[head + c], lanes[to + c] = F(half), from_f16(half)


@inner
def invert(d: Scalar) -> Scalar:
    """Return `1 / d`, and zero for zero."""
    return ZERO if d == ZERO else np.divide(ONE, d)


@inner
def account(
    q: np.ndarray,
    lanes: np.ndarray,
    ends: np.ndarray,
    bounds: tuple[int, int],
    place: tuple[int, int, int],
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Count codes at the ends, and copy sums and counts of a block's columns to the output."""
    _count_ends(q, bounds, ends)
    numbers = lanes.view(np.int32)
    for c in range(WIDTH):
        numbers[END + c], numbers[GONE + c] = I(ends[c]), I(lanes[GONE + c])
    block, column, width = place
    _, blocks, columns = sums.shape
    for k in range(3):
        to = (k * blocks + block) * columns + column
        _put(lanes, SUM + k * WIDTH, sums, to, width)
    for k in range(2):
        to = (k * blocks + block) * columns + column
        _put(lanes, END + k * WIDTH, counts, to, width)


@inner
def _count_ends(q: np.ndarray, bounds: tuple[int, int], ends: np.ndarray) -> None:
    """Count the codes of each column that are the least or the highest, in bytes."""
    low, high = np.int8(bounds[0]), np.int8(bounds[1])
    ends[:] = np.int8(0)
    for r in range(0, BLOCK, ROWS):
        for c in range(WIDTH):
            n = ends[c]
            for i in range(ROWS):
                code = q[r + i, c]
                n = np.int8(n + np.int8((code == low) | (code == high)))
            ends[c] = n


@inner
def _put(lanes: np.ndarray, at: int, out: np.ndarray, to: int, width: int) -> None:
    """Copy numbers of four bytes."""
    if width == WIDTH:
        for n in range(0, WIDTH * _F32, LINE):
            copy_line(lanes, at * _F32 + n, out, to * _F32 + n)
    else:
        copy(lanes, at * _F32, out, to * _F32, width * _F32)


@inner
def put(codes: np.ndarray, out: np.ndarray) -> None:
    """Write the bytes of a strip, `i8[bytes, WIDTH]`, to the blocks' rows, `u8[width, bytes]`."""
    height, width, step = len(codes), len(out), out.strides[0]
    rows, columns = height - height % SIDE, width - width % SIDE
    for c in range(0, columns, SIDE):
        for r in range(0, rows, SIDE):
            transpose_bytes(codes, r * WIDTH + c, WIDTH, out, c * step + r, step)
    for c in range(width):
        for r in range(rows if c < columns else 0, height):
            out[c, r] = np.uint8(codes[r, c])


@inner
def put_head(heads: np.ndarray, packed: np.ndarray) -> None:
    """Write float16 bits, a number in each lane, to two rows of bytes."""
    for c in range(WIDTH):
        bits = I(heads[c])
        packed[0, c], packed[1, c] = np.int8(bits & I(255)), np.int8(bits >> I(8))


@inner
def pack_four(q: np.ndarray, packed: np.ndarray) -> None:
    """Pack codes of Q4_0 and Q4_1, `i8[16, WIDTH]`: byte j has the codes of rows j and j + 16."""
    for r in range(BLOCK // 2):
        pair_up(q[r], q[BLOCK // 2 + r], packed[r])


@inner
def pair_up(low: np.ndarray, high: np.ndarray, out: np.ndarray) -> None:
    """Pack two 4-bit codes in each byte."""
    for c in range(WIDTH):
        out[c] = np.int8(I(I(low[c]) | I(I(high[c]) << I(4))))
