# min and max treat NaN differently from these comparisons
"""Q4_K, compiled: the arithmetic of `grokpack.kernels._ggml.q4_k`, 64 columns at a time."""

from __future__ import annotations

import numpy as np

from grokpack.kernels._ggml import q4_k as spec
from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._ggml.block_fits import added, keep
from grokpack.kernels.compiled._ggml.blocks_of_32 import (
    BLOCK,
    MAGIC,
    ONE,
    WIDTH,
    ZERO,
    F,
    I,
    Scalar,
    from_f16,
    pair_up,
    to_f16,
)
from grokpack.kernels.compiled._ggml.k_affine import Survey, affine_code, search_affine
from grokpack.kernels.compiled._vectors.float_vectors import (
    LANES,
    add_product,
    any_of,
    choose,
    clip,
    fill,
    keep_rolled,
    magnitude,
    nearest_by_bits,
    root,
    store,
    store_bytes,
    vector,
)

SUBS, SUPER = 8, 256
_TOP4, _TOP6, _COUNT = F(15), F(63), F(32)
_STEPS = np.append(_TOP4, spec.STEPS)
# Values of sub-blocks: rows of `subs f32[8 * SUBS, WIDTH]` from here on.
SCALES, MINIMA, KEPT, BASES = 0, SUBS, 2 * SUBS, 3 * SUBS
SIX, SIX_M = 4 * SUBS, 5 * SUBS  # their 6-bit numbers
READ, READ_M = 6 * SUBS, 7 * SUBS  # their decoded values, as float32


@inner
def nearest(y: Scalar) -> Scalar:
    """Compiled twin of `_ggml.blocks_of_32.nearest`."""
    bits = F(y + MAGIC).view(np.int32)
    whole = I(I(bits & I(0x7FFFFF)) - I(0x400000))
    return whole if y == y else I(0)  # noqa: PLR0124  # false for NaN alone


@inner
def _copy(x: np.ndarray, start: int, own: np.ndarray, w: np.ndarray) -> Survey:
    """Copy columns of a sub-block, and set what the errors of its weights count."""
    low = high = vector(x, start)
    squares = sum_w = sum_x = fill(ZERO)
    for at in range(0, len(own), LANES):
        v = vector(x, start + at // LANES * WIDTH)
        store(v, own, at)
        low, high = choose(v < low, v, low), choose(v > high, v, high)
        squares += v * v
    mean = root(squares / fill(_COUNT))
    for at in range(0, len(own), LANES):
        v = vector(own, at)
        weight = mean + magnitude(v)
        store(weight, w, at)
        sum_w += weight
        sum_x += weight * v
    return low, high, sum_w, sum_x


@inner
def _search(
    x: np.ndarray, work: tuple[np.ndarray, np.ndarray, np.ndarray], subs: np.ndarray
) -> None:
    """Find scale and minimum of each sub-block, and what gives its codes again."""
    own, w, k = work
    for sub in range(SUBS):
        for c in range(0, WIDTH, LANES):
            survey, known = _copy(x, sub * BLOCK * WIDTH + c, own, w), (own, w, len(own))
            scale, least, kept, base = search_affine(known, survey, _STEPS, False, k)  # noqa: FBT003
            store(scale, subs, (SCALES + sub) * WIDTH + c)
            store(fill(-ONE) * least, subs, (MINIMA + sub) * WIDTH + c)
            store(kept, subs, (KEPT + sub) * WIDTH + c)
            store(base, subs, (BASES + sub) * WIDTH + c)
            keep_rolled()


@inner
def _six_bits(subs: np.ndarray, of: int, six: int, read: int, heads: np.ndarray) -> None:
    """Round sub-blocks' values to 63rds of the largest; `heads f32[WIDTH]` receives their bits."""
    for c in range(WIDTH):
        largest = ZERO
        for sub in range(SUBS):
            value = subs[of + sub, c]
            largest = max(largest, value)
        multiplier = np.divide(_TOP6, largest) if largest > ZERO else ZERO
        half = to_f16(largest / _TOP6)
        back = from_f16(half)
        heads[c] = F(half)
        for sub in range(SUBS):
            whole = I(nearest(multiplier * subs[of + sub, c]) & I(255))
            whole = min(I(63), whole)
            subs[six + sub, c] = F(whole)
            subs[read + sub, c] = back * F(whole)


@inner
def encode_q4_k(
    x: np.ndarray, q: np.ndarray, subs: np.ndarray, sub: int, lanes: np.ndarray
) -> None:
    """Make the codes of a sub-block by its decoded scale, sums of errors, and GONE.

    Where that scale is 0, the codes are those of the search.
    """
    for c in range(0, WIDTH, LANES):
        d, m = vector(subs, (READ + sub) * WIDTH + c), vector(subs, (READ_M + sub) * WIDTH + c)
        kept, base = vector(subs, (KEPT + sub) * WIDTH + c), vector(subs, (BASES + sub) * WIDTH + c)
        none, least = d == fill(ZERO), fill(-ONE) * m
        some = any_of(none)
        sums = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
        for r in range(BLOCK):
            at = (sub * BLOCK + r) * WIDTH + c
            v = vector(x, at)
            y = (v + m) / d
            code = choose(y == y, nearest_by_bits(y), fill(ZERO))  # noqa: PLR0124  # false for NaN
            code = clip(code, fill(ZERO), fill(_TOP4))
            if some:
                code = choose(none, affine_code(v, kept, base, fill(_TOP4)), code)
            store_bytes(code, q, at)
            sums = added(sums, v, add_product(least, d, code))
            keep_rolled()
        keep(sums, lanes, c)


@inner
def fit_q4_k(
    x: np.ndarray,
    work: tuple[np.ndarray, np.ndarray, np.ndarray],
    subs: np.ndarray,
    heads: np.ndarray,
) -> None:
    """Find the scales of `f32[256, WIDTH]`: numbers of sub-blocks, and `heads f32[2, WIDTH]`."""
    _search(x, work, subs)
    _six_bits(subs, SCALES, SIX, READ, heads[0])
    _six_bits(subs, MINIMA, SIX_M, READ_M, heads[1])


@inner
def pack_q4_k(q: np.ndarray, subs: np.ndarray, heads: np.ndarray, packed: np.ndarray) -> None:
    """Pack blocks of Q4_K, `i8[144, WIDTH]`."""
    for c in range(WIDTH):
        for head in range(2):
            bits = I(heads[head, c])
            packed[2 * head, c] = np.int8(bits & I(255))
            packed[2 * head + 1, c] = np.int8(bits >> I(8))
    for sub in range(SUBS // 2):
        for c in range(WIDTH):
            scale, later = I(subs[SIX + sub, c]), I(subs[SIX + 4 + sub, c])
            least, later_m = I(subs[SIX_M + sub, c]), I(subs[SIX_M + 4 + sub, c])
            packed[4 + sub, c] = np.int8(scale | ((later >> I(4)) << I(6)))
            packed[8 + sub, c] = np.int8(least | ((later_m >> I(4)) << I(6)))
            packed[12 + sub, c] = np.int8((later & I(15)) | ((later_m & I(15)) << I(4)))
        for r in range(BLOCK):
            first = sub * 2 * BLOCK + r
            pair_up(q[first], q[first + BLOCK], packed[16 + sub * BLOCK + r])
