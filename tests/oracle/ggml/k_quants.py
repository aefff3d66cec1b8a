"""K-quants and IQ4 beside ggml's C code, with importance and without; and digests of its blocks."""

from __future__ import annotations

import ctypes
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.core.ggml_types import GGMLType
from tests.kernels.test_ggml_k import K_TYPES, quantized
from tests.support.ggml_cases import importance, side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterator

HOWS = ("plain", "importance")
UNHELD = "large"
"""Weights whose scale is no number, and whose quantizing is refused: the sign of a NaN is free."""


def reference(
    code: ctypes.CDLL, kind: str, x: np.ndarray, weights: np.ndarray | None
) -> np.ndarray:
    """Blocks of `f32[in, column]` by `ggml_quantize_chunk`'s function of the type."""
    own, rows = GGMLType[kind.upper()], np.ascontiguousarray(x.T)
    out = np.zeros((len(rows), len(x) // own.weights * own.nbytes), np.uint8)
    function: Any = getattr(code, f"quantize_{kind.replace('_k', '_K')}")
    function.restype = ctypes.c_size_t
    known = None if weights is None else weights.ctypes.data_as(ctypes.c_void_p)
    for row, to in zip(rows, out, strict=True):
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (row, to)]
        function(*pointers, ctypes.c_int64(1), ctypes.c_int64(len(x)), known)
    return out


def by_case(code: ctypes.CDLL, kind: str, seed: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield ggml's blocks for each kind of weights: with or without importance, name, blocks."""
    names, x = side_by_side(seed)
    for how in HOWS:
        blocks = reference(code, kind, x, importance(seed) if how == "importance" else None)
        for at, name in enumerate(names):
            if name != UNHELD:
                yield how, name, blocks[4 * at : 4 * at + 4]


def compare(code: ctypes.CDLL, kind: str, seeds: int) -> int:
    """Print a line for each type; the number of columns that differ."""
    differing = 0
    for how in HOWS:
        total, wrong = 0, []
        for seed in range(seeds):
            names, x = side_by_side(seed)
            weights = importance(seed) if how == "importance" else None
            wanted = reference(code, kind, x, weights)
            for implementation in ("numba", "numpy") if seed < 2 else ("numba",):
                made = quantized(kind, x, weights, implementation)[0]
                columns = (made != wanted).any(axis=1)
                columns[4 * names.index(UNHELD) :][:4] = False
                total += len(columns)
                wrong += [f"{names[n // 4]} ({implementation})" for n in np.flatnonzero(columns)]
        print(f"{kind:<7} {how:<10} {total:>7,} columns, {len(wrong)} differ {sorted(set(wrong))}")
        differing += len(wrong)
    return differing


def write_digests(code: ctypes.CDLL, seed: int, path: Path) -> None:
    """Write digests of ggml's blocks for `tests/kernels/test_ggml_k.py`."""
    made: dict[str, dict[str, dict[str, str]]] = {}
    for kind in K_TYPES:
        made[kind] = {how: {} for how in HOWS}
        for how, name, blocks in by_case(code, kind, seed):
            made[kind][how][name] = hashlib.sha256(blocks.tobytes()).hexdigest()[:16]
    path.write_text(json.dumps(made, indent=1) + "\n")
    print(f"wrote {path}")
