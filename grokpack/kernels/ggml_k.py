"""Quantization to K-quants, IQ4 and Q5: GGUF's types with searches of ggml's own.

Arguments are those of `kernels.ggml`. The `importance` of inputs, `f32[in]`, weighs errors as ggml
does with an importance matrix; None, as ggml does without one. Either way the bytes are ggml's own.
The quantizers run the same code in both implementations, but for the searches.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.kernels._ggml import k_search
from grokpack.kernels._ggml.k_blocks import (
    Q2_K,
    Q4_K,
    Q5_K,
    Known,
    make_iq4_nl,
    make_iq4_xs,
    make_q3_k,
    make_q5_0,
    make_q5_1,
    make_q6_k,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from grokpack.kernels._ggml.k_blocks import Block, Searches

    Make = Callable[[np.ndarray, Known | None, Searches], Block]

MEASURED = 32
"""Weights whose error is measured together."""
LANES = 32
"""Columns are searched in multiples of them; those beyond the last are zeros."""
_SPAN = 512  # columns that are quantized at a time
TYPES: dict[str, tuple[Make, int, int]] = {
    "q5_0": (make_q5_0, 32, 31),
    "q5_1": (make_q5_1, 32, 31),
    "q2_k": (Q2_K.make, 256, 3),
    "q3_k": (make_q3_k, 256, 7),
    "q4_k": (Q4_K.make, 256, 15),
    "q5_k": (Q5_K.make, 256, 31),
    "q6_k": (make_q6_k, 256, 63),
    "iq4_nl": (make_iq4_nl, 32, 15),
    "iq4_xs": (make_iq4_xs, 256, 15),
}
"""Maker of a block of each type, its weights, and its largest code."""
_OF_COLUMNS = ("q5_0", "q5_1")
"""Types whose errors are weighed by the mean square of a whole column, not of the block."""


class Quantizer:
    """A quantizer of one type, with searches of one implementation."""

    def __init__(self, kind: str, search: Searches) -> None:
        self.__name__, self.__module__ = f"quantize_{kind}", __name__
        self._make, self._height, self._top = TYPES[kind]
        self._search, self._whole_columns = search, kind in _OF_COLUMNS

    def __call__(  # noqa: PLR0913, PLR0917
        self,
        values: np.ndarray,
        scales: np.ndarray,
        column: int,
        per_group: int,
        out: np.ndarray,
        sums: np.ndarray,
        counts: np.ndarray,
        importance: np.ndarray | None = None,
    ) -> None:
        """Quantize as many columns as `out` has rows."""
        source = self._search.source_of(values, scales, column, per_group)
        for left in range(0, len(out), _SPAN):
            own = slice(left, min(left + _SPAN, len(out)))
            x = np.zeros((self._height, -(-(own.stop - left) // LANES) * LANES), np.float32)
            read = partial(self._read, source, (left, own.stop - left), x)
            with np.errstate(all="ignore"):
                self._quantize(read, out[own], sums[..., own], counts[..., own], importance)

    def _read(
        self,
        source: Any,  # noqa: ANN401  # of the implementation's own
        place: tuple[int, int],
        x: np.ndarray,
        row: int,
    ) -> np.ndarray:
        """Load a block of each column into `x`: from a row on, of so many columns from one on."""
        self._search.load_block(source, (row, *place), x)
        return x

    def _quantize(
        self,
        read: Callable[[int], np.ndarray],
        out: np.ndarray,
        sums: np.ndarray,
        counts: np.ndarray,
        importance: np.ndarray | None,
    ) -> None:
        """Quantize some columns, block by block."""
        height, measured = self._height, self._height // MEASURED
        rows = range(0, sums.shape[1] * MEASURED, height)
        mean = None
        if importance is not None and self._whole_columns:
            mean = _mean_square(map(read, rows), len(rows) * height)
        for at, row in enumerate(rows):
            x = read(row)
            known = None
            if importance is not None:
                known = Known(importance[row : row + height], mean)
            made = self._make(x, known, self._search)
            self._search.place(made.packed, out, at * len(made.packed))
            to = slice(at * measured, (at + 1) * measured)
            self._measure(x, made, sums[:, to], counts[:, to])

    def _measure(self, x: np.ndarray, made: Block, sums: np.ndarray, counts: np.ndarray) -> None:
        shape = (-1, MEASURED, x.shape[1])
        found = tuple(
            np.empty((len(own), own.shape[1], x.shape[1]), own.dtype) for own in (sums, counts)
        )
        arrays = (own.reshape(shape) for own in (x, made.restored, made.codes))
        self._search.measure(*arrays, self._top, *found)
        sums[...], counts[...] = (own[..., : sums.shape[2]] for own in found)


def _mean_square(parts: Iterable[np.ndarray], count: int) -> np.ndarray:
    """Return the mean square of each column, added in the order of rows, `f32[column]`."""
    total: np.ndarray = np.zeros(1, np.float32)
    for part in parts:
        for row in part:
            total = total + row * row
    made: np.ndarray = total / np.float32(count)
    return made


quantize_q5_0 = Quantizer("q5_0", k_search)
quantize_q5_1 = Quantizer("q5_1", k_search)
quantize_q2_k = Quantizer("q2_k", k_search)
quantize_q3_k = Quantizer("q3_k", k_search)
quantize_q4_k = Quantizer("q4_k", k_search)
quantize_q5_k = Quantizer("q5_k", k_search)
quantize_q6_k = Quantizer("q6_k", k_search)
quantize_iq4_nl = Quantizer("iq4_nl", k_search)
quantize_iq4_xs = Quantizer("iq4_xs", k_search)
