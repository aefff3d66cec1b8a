"""K-quants, IQ4 and Q5: what each type makes of weights, from searches to packed bytes.

Source: ggml-quants.c, `quantize_row_q2_K_ref` and its like, and `quantize_row_q2_K_impl` where the
importance of inputs is known. Weights come as `f32[weight, column]`, one block high.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from grokpack.kernels._ggml.blocks_of_32 import (
    cast,
    extremes,
    farthest,
    head_bytes,
    in_order,
    inverse,
    nearest,
    nibbles,
    to_f16,
)
from grokpack.kernels._ggml.k_search import LEVELS, TINY
from grokpack.kernels._ggml.q4_k import pack_scales, unpack_scales
from grokpack.kernels.float_casts import widen_f16

if TYPE_CHECKING:
    from collections.abc import Callable


class Searches(Protocol):
    """Module of searches, and of what else blocks need: `kernels._ggml.k_search`, or its twin."""

    source_of: Callable[..., Any]
    load_block: Callable[..., None]
    farthest: Callable[..., np.ndarray]
    weigh_squares: Callable[..., None]
    weigh_sizes: Callable[..., None]
    requantize: Callable[..., None]
    join_fields: Callable[..., None]
    measure: Callable[..., None]
    place: Callable[..., None]
    affine: Callable[..., None]
    symmetric: Callable[..., None]
    descent: Callable[..., None]
    positive: Callable[..., None]
    levels: Callable[..., None]
    level_codes: Callable[..., None]


@dataclass(frozen=True, slots=True)
class Known:
    """Weights for the errors of a block.

    Attributes:
        importance: Importance of its inputs, `f32[weight]`.
        mean: Mean square of all weights of each column, `f32[column]`; None for types that take
            that of the block.
    """

    importance: np.ndarray
    mean: np.ndarray | None = None

    def weights(self, x: np.ndarray, factor: int = 1) -> np.ndarray:
        """Weigh errors by importance, and by how large a weight is: `qw * sqrt(mean + x * x)`.

        Args:
            x: `f32[sub-block, weight, column]`.
            factor: Of the mean.
        """
        squares, size = x * x, x.shape[0] * x.shape[1]
        mean = self.mean
        if mean is None:
            mean = np.float32(factor) * in_order(squares.reshape(size, -1)) / np.float32(size)
        made: np.ndarray = self.importance.reshape(*x.shape[:2], 1) * np.sqrt(mean + squares)
        return made


@dataclass(frozen=True, slots=True)
class Block:
    """One block of each column.

    Attributes:
        packed: Its bytes, `u8[byte, column]`.
        codes: From 0 on, `i8[weight, column]`.
        restored: Decoded weights, `f32[weight, column]`.
    """

    packed: np.ndarray
    codes: np.ndarray
    restored: np.ndarray


def _steps(top: int, first: float, step: float, last: int) -> np.ndarray:
    """Return the largest code, then the numbers of steps that are tried in a range."""
    tried = np.float32(first) + np.float32(step) * np.arange(last + 1, dtype=np.float32)
    made: np.ndarray = np.append(np.float32(top), tried + np.float32(top))
    return made


def _weighed_steps(top: int) -> np.ndarray:
    return _steps(top, -0.9, 0.05, 36)


@dataclass(frozen=True, slots=True)
class Affine:
    """Types whose sub-blocks have a scale and a minimum: Q2_K, Q4_K and Q5_K.

    Attributes:
        width: Weights of a sub-block.
        steps: Steps that are tried without importance.
        number: The largest number that stands for a scale or minimum.
        factor: Of the mean square in the weights of errors.
        pack: Packs codes, numbers and heads.
    """

    width: int
    steps: np.ndarray
    number: int
    factor: int
    pack: Callable[[np.ndarray, list[np.ndarray], list[np.ndarray], Searches], np.ndarray]

    def make(self, flat: np.ndarray, known: Known | None, search: Searches) -> Block:
        """Quantize `f32[256, column]`."""
        x = flat.reshape(-1, self.width, flat.shape[1])
        top, absolute = int(self.steps[0]), self.width == 16  # noqa: PLR2004  # of Q2_K
        codes = np.empty(x.shape, np.int8)
        values = [np.empty((len(x), x.shape[2]), np.float32) for _ in range(2)]
        if known is None:
            w = np.empty_like(x)
            search.weigh_sizes(x, not absolute, w)
            search.affine(x, w, self.steps, absolute, codes, *values)
            both = [self._plain(own) for own in values]
        else:
            w = known.weights(x, self.factor)
            search.affine(x, w, _weighed_steps(top), False, codes, *values)  # noqa: FBT003
            total = in_order(w)
            both = [_positive(own, total, self.number, search) for own in values]
        numbers, heads = [own[0] for own in both], [to_f16(own[1]) for own in both]
        numbers = self._stored(numbers)
        d, m = (
            widen_f16(head) * own.astype(np.float32)
            for head, own in zip(heads, numbers, strict=True)
        )
        restored = np.empty_like(x)
        search.requantize(x, d, m, 0, top, codes, restored)
        packed = self.pack(codes.reshape(flat.shape), numbers, heads, search)
        return Block(packed, codes.reshape(flat.shape), restored.reshape(flat.shape))

    def _plain(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return sub-blocks' values in steps of the largest, and that step."""
        largest = np.fmax.reduce(values, initial=np.float32(0)) + np.float32(0)  # never -0
        top = np.float32(self.number)
        multiplier = np.where(largest > 0, top / largest, np.float32(0))
        return (nearest(multiplier * values) & 255).astype(np.uint8), largest / top

    def _stored(self, numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return numbers as the block keeps them, also those that do not fit their bits."""
        scales, minima = numbers
        if self.number == 15:  # noqa: PLR2004  # of four bits
            octets = scales | (minima << 4)
            return [octets & 15, octets >> 4]
        packed = pack_scales(*(np.minimum(own, 63) for own in numbers))
        return [np.ascontiguousarray(own.T) for own in unpack_scales(packed)]


def _positive(
    values: np.ndarray, w: np.ndarray, top: int, search: Searches
) -> tuple[np.ndarray, np.ndarray]:
    numbers, step = np.empty(values.shape, np.uint8), np.empty(values.shape[1], np.float32)
    search.positive(values, w, top, numbers, step)
    return numbers, step


def _head(bits: np.ndarray) -> np.ndarray:
    return head_bytes((bits,)).T


def _joined(codes: np.ndarray, field: tuple[int, int, int], search: Searches) -> np.ndarray:
    """Return a field of the bits of codes, packed: `k_arrays.join_fields`."""
    packed = np.empty((len(codes) * field[1] // 8, codes.shape[1]), np.uint8)
    search.join_fields(codes, field, packed)
    return packed


def _pack_q2_k(
    codes: np.ndarray, numbers: list[np.ndarray], heads: list[np.ndarray], search: Searches
) -> np.ndarray:
    octets = numbers[0] | (numbers[1] << 4)
    return np.concatenate([octets, _joined(codes, (0, 2, 32), search), *map(_head, heads)])


def _pack_q4_k(
    codes: np.ndarray, numbers: list[np.ndarray], heads: list[np.ndarray], search: Searches
) -> np.ndarray:
    low, six = _joined(codes, (0, 4, 32), search), pack_scales(*numbers).T
    return np.concatenate([*map(_head, heads), six, low])


def _pack_q5_k(
    codes: np.ndarray, numbers: list[np.ndarray], heads: list[np.ndarray], search: Searches
) -> np.ndarray:
    low, high = _joined(codes, (0, 4, 32), search), _joined(codes, (4, 1, 32), search)
    return np.concatenate([*map(_head, heads), pack_scales(*numbers).T, high, low])


Q2_K = Affine(16, _steps(3, -0.5, 0.1, 15), 15, 1, _pack_q2_k)
Q4_K = Affine(32, _steps(15, -1.0, 0.1, 20), 63, 2, _pack_q4_k)
Q5_K = Affine(32, _steps(31, -0.5, 0.1, 15), 63, 2, _pack_q5_k)


def _symmetric(
    x: np.ndarray, w: np.ndarray, middle: int, search: Searches
) -> tuple[np.ndarray, np.ndarray]:
    codes, scale = np.empty(x.shape, np.int8), np.empty((len(x), x.shape[2]), np.float32)
    search.symmetric(x, w, middle, codes, scale)
    return codes, scale


def _restore(
    x: np.ndarray, d: np.ndarray, middle: int, codes: np.ndarray, search: Searches
) -> np.ndarray:
    """Make the final codes for decoded scales, and what they mean."""
    restored = np.empty_like(x)
    search.requantize(x, d, np.zeros_like(d), middle, 2 * middle - 1, codes, restored)
    return restored


def make_q6_k(flat: np.ndarray, known: Known | None, search: Searches) -> Block:
    """Quantize `f32[256, column]` to Q6_K."""
    x = flat.reshape(16, 16, -1)
    w = np.empty_like(x)
    if known is None:
        search.weigh_squares(x, w)
    else:
        w[...] = known.importance.reshape(16, 16, 1)
    codes, values = _symmetric(x, w, 32, search)
    far = search.farthest(values)
    zero = np.abs(far) < TINY
    multiplier = np.float32(-128) / far
    head = to_f16(np.where(zero, np.float32(0), np.float32(1) / multiplier))
    numbers = np.minimum(nearest(multiplier * values), 127).astype(np.int8)
    numbers = np.where(zero, np.int8(0), numbers)
    d = widen_f16(head) * numbers.astype(np.float32)
    restored = _restore(x, d, 32, codes, search)
    codes = np.where(zero, np.int8(0), codes.reshape(flat.shape))
    packed = np.concatenate(
        [
            _joined(codes, (0, 4, 64), search),
            _joined(codes, (4, 2, 32), search),
            numbers.view(np.uint8),
            _head(head),
        ]
    )
    return Block(packed, codes, restored.reshape(flat.shape))


def make_q3_k(flat: np.ndarray, known: Known | None, search: Searches) -> Block:
    """Quantize `f32[256, column]` to Q3_K."""
    x = flat.reshape(16, 16, -1)
    if known is None:
        codes: np.ndarray = np.empty(x.shape, np.int8)
        values: np.ndarray = np.empty((16, x.shape[2]), np.float32)
        search.descent(x, 4, codes, values)
        far = search.farthest(values)
        multiplier = np.float32(-32) / far
        whole = nearest(multiplier * values).astype(np.int8)
        numbers = np.where(far == 0, 0, np.clip(whole, -32, 31) + 32).astype(np.uint8)
        head = to_f16(np.where(far == 0, np.float32(0), np.float32(1) / multiplier))
    else:
        w = known.weights(x, 2)
        codes, values = _symmetric(x, w, 4, search)
        found, step = _symmetric(values[None], in_order(w)[None], 32, search)
        numbers, head = found[0].view(np.uint8), to_f16(step[0])
    d = widen_f16(head) * (numbers.astype(np.float32) - np.float32(32))
    restored = _restore(x, d, 4, codes, search)
    codes = codes.reshape(flat.shape)
    upper = (numbers >> 4).reshape(4, 4, -1)
    packed = np.concatenate(
        [
            _joined(codes, (2, 1, 32), search),
            _joined(codes, (0, 2, 32), search),
            nibbles(numbers[:8] & 15, numbers[8:] & 15),
            upper[0] | (upper[1] << 2) | (upper[2] << 4) | (upper[3] << 6),
            _head(head),
        ]
    )
    return Block(packed, codes, restored.reshape(flat.shape))


def _level_scales(x: np.ndarray, known: Known | None, search: Searches) -> np.ndarray:
    """Return the scales of IQ4's sub-blocks."""
    if known is None:
        w = np.empty_like(x)
        search.weigh_squares(x, w)
    else:
        w = known.weights(x, 2)
    values = np.empty((len(x), x.shape[2]), np.float32)
    search.levels(x, w, values)
    return values


def _levels(x: np.ndarray, multiplier: np.ndarray, search: Searches) -> np.ndarray:
    codes = np.empty(x.shape, np.int8)
    search.level_codes(x, multiplier, codes)
    return codes


def _inverse(values: np.ndarray) -> np.ndarray:
    return np.where(values != 0, np.float32(1) / values, np.float32(0))


def make_iq4_nl(flat: np.ndarray, known: Known | None, search: Searches) -> Block:
    """Quantize `f32[32, column]` to IQ4_NL."""
    x = flat[None]
    values = _level_scales(x, known, search)
    codes = _levels(x, _inverse(values), search)[0]
    head = to_f16(values[0])
    restored = widen_f16(head) * LEVELS[codes]
    return Block(np.concatenate([_head(head), _joined(codes, (0, 4, 16), search)]), codes, restored)


def make_iq4_xs(flat: np.ndarray, known: Known | None, search: Searches) -> Block:
    """Quantize `f32[256, column]` to IQ4_XS."""
    x = flat.reshape(8, 32, -1)
    values = _level_scales(x, known, search)
    d = -search.farthest(values) / np.float32(32)
    head = to_f16(d)
    whole = np.clip(nearest(_inverse(d) * values), -32, 31)
    codes = _levels(x, _inverse(d * whole.astype(np.float32)), search)
    scales = (widen_f16(head) * whole.astype(np.float32))[:, None]
    restored = (scales * LEVELS[codes]).reshape(flat.shape)
    numbers, codes = (whole + 32).astype(np.uint8), codes.reshape(flat.shape)
    upper = (numbers >> 4).reshape(2, 4, -1)
    packed = np.concatenate(
        [
            _head(head),
            upper[:, 0] | (upper[:, 1] << 2) | (upper[:, 2] << 4) | (upper[:, 3] << 6),
            nibbles(numbers[0::2] & 15, numbers[1::2] & 15),
            _joined(codes, (0, 4, 16), search),
        ]
    )
    return Block(packed, codes, restored)


def make_q5_0(flat: np.ndarray, known: Known | None, search: Searches) -> Block:
    """Quantize `f32[32, column]` to Q5_0."""
    if known is None:
        d = farthest(flat) / np.float32(-16)
        codes = np.minimum(cast(flat * inverse(d) + np.float32(16.5)), 31)
        codes = np.maximum(codes, 0).astype(np.int8)
    else:
        found, values = _symmetric(flat[None], known.weights(flat[None]), 16, search)
        codes, d = found[0], values[0]
    head = to_f16(d)
    restored = widen_f16(head) * (codes.astype(np.float32) - np.float32(16))
    return Block(np.concatenate([_head(head), _five_bits(codes, search)]), codes, restored)


def make_q5_1(flat: np.ndarray, known: Known | None, search: Searches) -> Block:
    """Quantize `f32[32, column]` to Q5_1."""
    if known is None:
        low, high = extremes(flat)
        d = (high - low) / np.float32(31)
        codes = cast((flat - low) * inverse(d) + np.float32(0.5)).astype(np.int8)
    else:
        x = flat[None]
        found, d, low = np.empty(x.shape, np.int8), *np.empty((2, 1, x.shape[2]), np.float32)
        search.affine(x, known.weights(x), _weighed_steps(31), False, found, d, low)  # noqa: FBT003
        codes, d, low = found[0], d[0], -low[0]
    heads = [to_f16(d), to_f16(low)]
    scale, least = map(widen_f16, heads)
    restored = scale * codes.astype(np.float32) + least
    return Block(np.concatenate([*map(_head, heads), _five_bits(codes, search)]), codes, restored)


def _five_bits(codes: np.ndarray, search: Searches) -> np.ndarray:
    """Pack 32 codes of five bits: their fifth bits one after another, then the others."""
    fields = (4, 1, 1), (0, 4, 16)
    return np.concatenate([_joined(codes, field, search) for field in fields])
