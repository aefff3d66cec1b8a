"""K-quants and IQ4: ggml's own bytes, with importance and without, by both implementations."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import gguf
import numpy as np
import pytest

from grokpack.core.ggml_types import GGMLType
from grokpack.kernels import dispatch, ggml_k
from grokpack.kernels.block_kernels import PRODUCTS
from grokpack.kernels.dispatch import twin
from tests.support.ggml_cases import K_TYPES, importance, normal, side_by_side
from tests.support.project import DATA

SEED = 20240317  # of the digests
NAMES, WEIGHTS = side_by_side(SEED)
IMPORTANCE = importance(SEED)
needs_compiler = pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")
both = pytest.mark.parametrize("kind", K_TYPES)
weighed = pytest.mark.parametrize("weights", [None, IMPORTANCE], ids=["plain", "importance"])


def quantized(
    kind: str,
    x: np.ndarray,
    weights: np.ndarray | None = None,
    implementation: Any = "numpy",
    scales: np.ndarray | None = None,
    per_group: int | None = None,
    part: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks, sums and counts; `part` is first column and number."""
    own, (inputs, columns) = GGMLType[kind.upper()], x.shape
    column, count = part or (0, columns)
    out = np.full((count, inputs // own.weights * own.nbytes), 0xAA, np.uint8)
    sums = np.full((3, inputs // 32, count), 7, np.float32)
    counts = np.full((2, inputs // 32, count), 7, np.int32)
    scales = np.ones((1, columns), np.float32) if scales is None else scales
    kernel = twin(getattr(ggml_k, f"quantize_{kind}"), implementation)
    kernel(x, scales, column, per_group or inputs, out, sums, counts, weights)
    return out, sums, counts


def columns_of(name: str) -> slice:
    at = 4 * NAMES.index(name)
    return slice(at, at + 4)


@both
@weighed
def test_blocks_are_those_of_ggml(kind: str, weights: np.ndarray | None) -> None:
    wanted = json.loads((DATA / "ggml" / "digests.json").read_text())
    blocks = quantized(kind, WEIGHTS, weights)[0]
    how = "plain" if weights is None else "importance"
    assert len(wanted[kind][how]) == len(NAMES) - 1
    for name in wanted[kind][how]:
        found = hashlib.sha256(blocks[columns_of(name)].tobytes()).hexdigest()[:16]
        assert found == wanted[kind][how][name], name


@needs_compiler
@both
@weighed
def test_twins_leave_the_same_bits(kind: str, weights: np.ndarray | None) -> None:
    x = WEIGHTS.copy()
    x[300, 7], x[40, 66], x[41, 67] = np.inf, -np.inf, np.nan
    plain, fast = (quantized(kind, x, weights, own) for own in ("numpy", "numba"))
    for one, other in zip(plain, fast, strict=True):
        np.testing.assert_array_equal(one, other)


@both
def test_codes_with_scales_are_the_products(kind: str) -> None:
    """Groups that straddle blocks, a part of the columns."""
    codes = np.clip(np.round(normal(3, (512, 9)) * 34), -128, 127).astype(np.int8)
    scales = normal(4, (6, 9)) * np.float32(1e-3)
    x = codes.astype(np.float32) * scales[np.arange(512) // 100]
    one = quantized(kind, codes, scales=scales, per_group=100, part=(2, 5))
    other = quantized(kind, np.ascontiguousarray(x[:, 2:7]))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)


@both
@weighed
def test_the_account_is_that_of_the_blocks(kind: str, weights: np.ndarray | None) -> None:
    for name in ("normal", "int8 codes", "sparse", "scale zero in float16"):
        x = WEIGHTS[:, columns_of(name)]
        blocks, sums, counts = quantized(kind, x, weights)
        back = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[kind.upper()]).T
        e = x - back
        for row, terms in zip(sums, (x * x, e * e, x * e), strict=True):
            exact = terms.astype(np.float64).reshape(-1, 32, 4)
            spread = np.abs(exact).sum(axis=1).max(initial=1e-300)
            np.testing.assert_allclose(row, exact.sum(axis=1), rtol=1e-5, atol=1e-5 * spread)
        zeroed = ((x != 0) & (back == 0)).reshape(-1, 32, 4).sum(axis=1)
        np.testing.assert_array_equal(counts[1], zeroed)


@both
def test_what_cannot_be_held_shows_in_its_block_alone(kind: str) -> None:
    large = WEIGHTS[:, columns_of("large")]
    assert not np.isfinite(quantized(kind, large)[1][1]).any()
    for odd in (np.nan, np.inf, -np.inf):
        x = normal(4, (512, 3))
        x[300, 1] = odd
        bad = ~np.isfinite(quantized(kind, x)[1][1])
        assert bad[300 // 32, 1]
        assert not bad[:, [0, 2]].any()
        assert not bad[:8].any()


@both
def test_importance_moves_errors_to_where_they_matter_less(kind: str) -> None:
    x = normal(11, (512, 64))

    def error(blocks: np.ndarray) -> float:
        back = np.empty((64, 512), np.float32)
        PRODUCTS[kind](blocks, back)
        return float((np.square(x - back.T, dtype=np.float64) * IMPORTANCE[:, None]).sum())

    usual, minded = (error(quantized(kind, x, own)[0]) for own in (None, IMPORTANCE))
    assert minded < 0.95 * usual
