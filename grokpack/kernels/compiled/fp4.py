"""Four-bit floats, compiled: twins of `grokpack.kernels.fp4`.

One compiled function makes blocks of every form; codes and scales go to places of their own, or
side by side into GGUF's blocks.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels import fp4_blocks as spec
from grokpack.kernels.compiled import compiled, inner
from grokpack.kernels.compiled._byte_copies import copy
from grokpack.kernels.compiled._byte_transposition import SIDE, scratch, transpose
from grokpack.kernels.compiled._fp4_blocks import (
    LANES,
    account,
    choose,
    encode,
    find_largest,
    pack,
    search,
    set_trial,
    take_trial,
)
from grokpack.kernels.compiled._ggml_blocks_of_32 import WIDTH, F, Scalar, Source, load, source_of

_SPAN = 512  # columns of a span: half a kilobyte of each row is read at once


def quantize_fp4(  # noqa: PLR0913, PLR0917
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    unit: float | None,
    weights: np.ndarray | None,
    codes: np.ndarray,
    chosen: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Compiled twin of `fp4.quantize_fp4`."""
    form = spec.MX if unit is None else spec.NV
    source = values, scales, column, per_group
    places = codes, form.height // 2, 0, chosen, 1
    _run(form, source, F(unit or 1), weights, places, sums, counts)


def quantize_mxfp4(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Compiled twin of `fp4.quantize_mxfp4`."""
    places = out, spec.MX_BYTES, 1, out, spec.MX_BYTES
    _run(spec.GGML, (values, scales, column, per_group), F(1), None, places, sums, counts)


def search_mxfp4(  # noqa: PLR0913, PLR0917
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
    importance: np.ndarray | None = None,
) -> None:
    """Compiled twin of `fp4.search_mxfp4`."""
    weights = np.ones(len(values), np.float32) if importance is None else importance
    places = out, spec.MX_BYTES, 1, out, spec.MX_BYTES
    _run(spec.GGML, (values, scales, column, per_group), F(1), weights, places, sums, counts)


def _run(
    form: spec.BlockForm,
    source: tuple[np.ndarray, np.ndarray, int, int],
    unit: np.float32,
    weights: np.ndarray | None,
    places: tuple[np.ndarray, int, int, np.ndarray, int],
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Allocate scratch, and call the compiled function."""
    height = form.height
    trials = np.empty(0, np.int32) if weights is None else form.trials
    known = np.ones(len(source[0]), np.float32) if weights is None else weights
    work = (
        np.zeros((height, WIDTH), np.float32),
        np.zeros((height, WIDTH), np.int8),
        np.zeros((SIDE, WIDTH), np.int8),  # of which blocks of 16 weights fill half
        np.zeros(LANES, np.float32),
        np.zeros(WIDTH, np.int32),
        np.zeros(2 * WIDTH, np.int32),
        scratch(),
    )
    rules = form.micro, form.ggml, unit, trials, known
    _quantize(source_of(*source), rules, places, work, sums, counts)


@compiled
def _quantize(
    source: Source,
    rules: tuple[bool, bool, Scalar, np.ndarray, np.ndarray],
    places: tuple[np.ndarray, int, int, np.ndarray, int],
    work: tuple[np.ndarray, ...],
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Quantize span by span, block by block, strip by strip."""
    micro, ggml, unit, trials, weights = rules
    x, q, packed, lanes, chosen, other, tile = work
    codes, height = places[0], len(x)
    for span in range(0, len(codes), _SPAN):
        for at in range(sums.shape[1]):
            for done in range(span, min(span + _SPAN, len(codes)), WIDTH):
                end = min(done + WIDTH, len(codes))
                load(source, at * height, done, end - done, q, x, lanes)
                find_largest(x, lanes)
                choose(lanes, micro, ggml, unit, chosen)
                set_trial(chosen, micro, unit, lanes)
                take_trial(lanes)
                if len(trials):
                    own = weights[at * height : (at + 1) * height]
                    search(x, own, lanes, micro, unit, trials, chosen, other)
                encode(x, lanes, ggml, q)
                pack(q, ggml, packed)
                transpose(packed, (0, SIDE, 0, WIDTH), tile)
                _put(places, at, done, end, height // 2, tile, chosen)
                account(x, q, lanes, sums[:, at, done:end], counts[:, at, done:end])


@inner
def _put(
    places: tuple[np.ndarray, int, int, np.ndarray, int],
    block: int,
    done: int,
    end: int,
    width: int,
    tile: np.ndarray,
    chosen: np.ndarray,
) -> None:
    """Write codes and scales of a strip's blocks to their rows."""
    codes, pitch, skip, scales, scale_pitch = places
    at = block * pitch + skip
    for c in range(end - done):
        scales[done + c, block * scale_pitch] = np.uint8(chosen[c])
        copy(tile[c], 0, codes[done + c], at, width)
