# min and max treat NaN differently from these comparisons
"""Blocks of 32 weights, compiled: the arithmetic of `grokpack.kernels._ggml_blocks_of_32`.

All functions work on a strip of 64 columns, with rows in the outer loop and columns in the inner
one, which then becomes vector instructions while each column adds in the order of its rows. Where
something is added up, four rows are taken at a time, so that sums are in registers meanwhile. The
values of a column (a lane) lie in one flat array, at constant offsets: the compiler sees that lanes
do not overlap, and needs no checks at run time. There are no branches, for the same reason.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from grokpack.kernels.compiled import allocate, inner
from grokpack.kernels.compiled._byte_copies import copy, copy_line
from grokpack.kernels.compiled._byte_transposition import SIDE, transpose_square

WIDTH = 64  # columns of a strip; a block of their weights is 8 KiB as float32
BLOCK = 32
ROWS = 4  # rows of an unrolled loop
Scalar = Any  # float32 or int32; numba infers which, and never mixes them
Source: TypeAlias = tuple[np.ndarray, int, np.ndarray, int, int]
"""Values as bytes; bytes of a value, 4 for float32 and 1 for codes; scales `f32[group, column]`;
first column; rows that share a scale."""
F32 = 4
F: Any = np.float32
I: Any = np.int32  # noqa: E741  # stands in every line of arithmetic
ZERO, ONE, HALF = F(0), F(1), F(0.5)
MAGIC = F(12582912)
INFINITE = F(np.inf)
_LARGEST = F(np.finfo(np.float32).max)
_CAST_LIMIT = F(1024)
_TO_INF, _TO_ZERO, _RAISE = F(2.0**112), F(2.0**-110), F(2.0**112)
_TOP4, _TOP8 = F(15), F(127)
_BELOW_HALF = np.nextafter(HALF, ZERO)
"""Summand with which a cast rounds halves away from zero; half itself would also raise the number
below one half."""
_LEAST_DIVISOR, _EIGHT_HALF = F(-8), F(8.5)

# Lanes of a fit: scale, minimum, both as float16 bits (a number up to 65,535), its error.
D, M, HEAD, HEAD_M, ERROR = 0, 64, 128, 192, 256
# Inputs of a fit: scale and minimum as float32, multiplier, base.
RAW, RAW_M, INVERSE, BASE = 320, 384, 448, 512
# Values of a block: farthest, least, largest, and running sums.
FAR, LOW, HIGH, SUM = 576, 640, 704, 768
SUM_2, SUM_3, SUM_4, SUM_5 = 832, 896, 960, 1024
LANES = 1088


def scratch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Allocate weights, codes and lanes of a block."""
    return (
        allocate((BLOCK, WIDTH), np.float32),
        allocate((BLOCK, WIDTH), np.int8),
        allocate((LANES,), np.float32),
    )


def source_of(values: np.ndarray, scales: np.ndarray, column: int, per_group: int) -> Source:
    """Return the input of a quantizer in one form, whatever the type of its values is."""
    size = values.dtype.itemsize
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8), size, scales, column, per_group


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
def cast(value: Scalar) -> Scalar:
    """Cast towards zero; values beyond any code become 0."""
    return I(value if abs(value) < _CAST_LIMIT else ZERO)


@inner
def load(
    source: Source,
    row: int,
    column: int,
    width: int,
    q: np.ndarray,
    x: np.ndarray,
    lanes: np.ndarray,
) -> None:
    """Load values times scales of as many rows as `x` has, and `width` columns.

    Codes are copied to `q` first, scales to RAW. Lanes beyond the last column hold anything.
    """
    raw, size, scales, first, per_group = source
    pitch, start, until = scales.shape[1] * size, first + column, 0
    at = row * pitch + start * size
    for r in range(len(x)):
        if r == until:
            group = (row + r) // per_group
            until = (group + 1) * per_group - row
            own = (group * scales.shape[1] + start) * F32
            copy(scales, own, lanes, RAW * F32, width * F32)
        line, to = q[r], x[r]
        if size == F32:
            copy(raw, at + r * pitch, to, 0, width * F32)
            for c in range(WIDTH):
                to[c] *= lanes[RAW + c]
            continue
        if width == WIDTH:
            copy_line(raw, at + r * pitch, line, 0)
        else:
            copy(raw, at + r * pitch, line, 0, width)
        for c in range(WIDTH):
            to[c] = F(line[c]) * lanes[RAW + c]


@inner
def find_farthest(x: np.ndarray, lanes: np.ndarray) -> None:
    """Find the first value of largest magnitude in each column; skip NaN.

    It takes rows in fours: with a store for each, stores of unchanged values become conditional,
    and masked stores take five times as long.
    """
    for c in range(WIDTH):
        lanes[FAR + c] = ZERO
    for r in range(0, BLOCK, ROWS):
        for c in range(WIDTH):
            far = lanes[FAR + c]
            for i in range(ROWS):
                v = x[r + i, c]
                far = v if abs(v) > abs(far) else far
            lanes[FAR + c] = far


@inner
def find_range(x: np.ndarray, lanes: np.ndarray) -> None:
    """Find the least and largest value of each column; skip NaN."""
    for c in range(WIDTH):
        lanes[LOW + c], lanes[HIGH + c] = _LARGEST, -_LARGEST
    for r in range(0, BLOCK, ROWS):
        for c in range(WIDTH):
            low, high = lanes[LOW + c], lanes[HIGH + c]
            for i in range(ROWS):
                v = x[r + i, c]
                low = min(low, v)
                high = max(high, v)
            lanes[LOW + c], lanes[HIGH + c] = low, high


@inner
def round_heads(lanes: np.ndarray) -> None:
    """Round scale and minimum to float16."""
    for c in range(WIDTH):
        half, half_m = to_f16(lanes[RAW + c]), to_f16(lanes[RAW_M + c])
        lanes[HEAD + c], lanes[HEAD_M + c] = F(half), F(half_m)
        lanes[D + c], lanes[M + c] = from_f16(half), from_f16(half_m)


@inner
def invert(d: Scalar) -> Scalar:
    """Return `1 / d`, and zero for zero."""
    return ZERO if d == ZERO else np.divide(ONE, d)


@inner
def fit_q8_0(x: np.ndarray, q: np.ndarray, lanes: np.ndarray) -> None:
    """Compiled twin of `_ggml_blocks_of_32.fit_q8_0`."""
    find_farthest(x, lanes)
    for c in range(WIDTH):
        d = abs(lanes[FAR + c]) / _TOP8
        lanes[RAW + c], lanes[RAW_M + c] = d, ZERO
        lanes[INVERSE + c] = invert(d)
    round_heads(lanes)
    for r in range(BLOCK):
        line, to = x[r], q[r]
        for c in range(WIDTH):
            y = line[c] * lanes[INVERSE + c]
            to[c] = np.int8(cast(y + pick(y < ZERO, -_BELOW_HALF, _BELOW_HALF)))


@inner
def codes_q4_0(x: np.ndarray, q: np.ndarray, lanes: np.ndarray) -> None:
    """Make heads from RAW, and codes by INVERSE."""
    round_heads(lanes)
    for c in range(WIDTH):
        lanes[M + c] = lanes[D + c] * _LEAST_DIVISOR
    for r in range(BLOCK):
        line, to = x[r], q[r]
        for c in range(WIDTH):
            code = cast(line[c] * lanes[INVERSE + c] + _EIGHT_HALF)
            code = min(I(15), code)
            to[c] = np.int8(max(I(0), code))


@inner
def fit_q4_0(x: np.ndarray, q: np.ndarray, lanes: np.ndarray) -> None:
    """Compiled twin of `_ggml_blocks_of_32.fit_q4_0`."""
    find_farthest(x, lanes)
    for c in range(WIDTH):
        d = lanes[FAR + c] / _LEAST_DIVISOR
        lanes[RAW + c], lanes[RAW_M + c] = d, ZERO
        lanes[INVERSE + c] = invert(d)
    codes_q4_0(x, q, lanes)


@inner
def codes_q4_1(x: np.ndarray, q: np.ndarray, lanes: np.ndarray) -> None:
    """Make heads from RAW and RAW_M, and codes above BASE by INVERSE."""
    round_heads(lanes)
    for r in range(BLOCK):
        line, to = x[r], q[r]
        for c in range(WIDTH):
            code = cast((line[c] - lanes[BASE + c]) * lanes[INVERSE + c] + HALF)
            code = min(I(15), code)
            to[c] = np.int8(max(I(0), code))


@inner
def fit_q4_1(x: np.ndarray, q: np.ndarray, lanes: np.ndarray) -> None:
    """Compiled twin of `_ggml_blocks_of_32.fit_q4_1`."""
    find_range(x, lanes)
    for c in range(WIDTH):
        low = lanes[LOW + c]
        d = (lanes[HIGH + c] - low) / _TOP4
        lanes[RAW + c], lanes[RAW_M + c], lanes[BASE + c] = d, low, low
        lanes[INVERSE + c] = invert(d)
    codes_q4_1(x, q, lanes)


@inner
def measure(
    x: np.ndarray,
    q: np.ndarray,
    lanes: np.ndarray,
    low: Scalar,
    high: Scalar,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Compiled twin of `_ggml_blocks_of_32.measure`.

    Sums are `f32[3, width]`, counts `i32[2, width]`.
    """
    lanes[SUM : SUM_5 + WIDTH] = ZERO
    for r in range(0, BLOCK, ROWS):
        for c in range(WIDTH):
            d, m = lanes[D + c], lanes[M + c]
            vv, ee, ve = lanes[SUM + c], lanes[SUM_2 + c], lanes[SUM_3 + c]
            ends, gone = lanes[SUM_4 + c], lanes[SUM_5 + c]
            for i in range(ROWS):
                v, code = x[r + i, c], F(q[r + i, c])
                restored = d * code + m
                e = v - restored
                vv += v * v
                ee += e * e
                ve += v * e
                ends += ONE if (code <= low) | (code >= high) else ZERO
                gone += ONE if (v != ZERO) & (restored == ZERO) else ZERO
            lanes[SUM + c], lanes[SUM_2 + c], lanes[SUM_3 + c] = vv, ee, ve
            lanes[SUM_4 + c], lanes[SUM_5 + c] = ends, gone
    for c in range(sums.shape[1]):
        sums[0, c], sums[1, c], sums[2, c] = lanes[SUM + c], lanes[SUM_2 + c], lanes[SUM_3 + c]
        counts[0, c], counts[1, c] = I(lanes[SUM_4 + c]), I(lanes[SUM_5 + c])


@inner
def put(codes: np.ndarray, out: np.ndarray) -> None:
    """Write `codes i8[bytes, WIDTH]` of a strip to the blocks' rows, `u8[width, bytes]`."""
    height, width, step = len(codes), len(out), out.strides[0]
    whole = width - width % SIDE
    for r in range(0, height, SIDE):
        for c in range(0, whole, SIDE):
            transpose_square(codes, r * WIDTH + c, WIDTH, out, c * step + r, step)
    for c in range(whole, width):
        for r in range(height):
            out[c, r] = np.uint8(codes[r, c])


@inner
def put_heads(heads: np.ndarray, out: np.ndarray) -> None:
    """Write float16 bits, a number in each lane, to the blocks' rows, `u8[width, 2]`."""
    for c in range(len(out)):
        bits = I(heads[c])
        out[c, 0], out[c, 1] = np.uint8(bits & I(255)), np.uint8(bits >> I(8))


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
