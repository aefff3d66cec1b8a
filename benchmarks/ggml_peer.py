"""Quantizing to GGUF's blocks beside ggml's own functions, which llama-quantize calls.

Both quantize the same weights in one thread and take turns; what counts is the processor's time.
`GGML_LIBRARY` names a shared library of ggml-quants.c; `make oracle-ggml` makes one.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.figures import tell
from grokpack.core.ggml_types import GGMLType
from grokpack.kernels.block_kernels import KERNELS
from grokpack.kernels.dispatch import twin

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench

VARIABLE, LIBRARY = "GGML_LIBRARY", "build/oracle-ggml/libquants.so"
INPUTS, COLUMNS, TURNS = 1024, 512, 5
_TYPES = {  # how often faster ours must be
    "q8_0": None,
    "q4_0": None,
    "q2_k": 4,
    "q3_k": 4,
    "q4_k": 4,
    "q5_k": 4,
    "q6_k": 4,
    "iq4_xs": 4,
}


def bench_ggml_peer(bench: Bench) -> None:
    """Compare every type that follows ggml bit for bit."""
    library = Path(os.environ.get(VARIABLE, LIBRARY))
    if not library.is_file():
        bench.table.leave_out(bench.part, f"{VARIABLE} names no library of ggml's quantizers")
        return
    bench.child(sys.executable, "-m", "benchmarks.ggml_peer", str(library.resolve()))


def _ours(kind: str, codes: np.ndarray, scales: np.ndarray) -> tuple[Callable[[], None], Any]:
    own, kernel = GGMLType[kind.upper()], twin(KERNELS[kind].quantize, "numba")
    out = np.zeros((COLUMNS, INPUTS // own.weights * own.nbytes), np.uint8)
    sums = np.zeros((3, INPUTS // 32, COLUMNS), np.float32)
    counts = np.zeros((2, INPUTS // 32, COLUMNS), np.int32)
    return lambda: kernel(codes, scales, 0, INPUTS, out, sums, counts), out


def _theirs(code: ctypes.CDLL, kind: str, rows: np.ndarray) -> tuple[Callable[[], None], Any]:
    own = GGMLType[kind.upper()]
    out = np.zeros((COLUMNS, INPUTS // own.weights * own.nbytes), np.uint8)
    function: Any = getattr(code, f"quantize_{kind.replace('_k', '_K')}")
    function.restype = ctypes.c_size_t

    def run() -> None:
        for row, to in zip(rows, out, strict=True):
            pointers = [each.ctypes.data_as(ctypes.c_void_p) for each in (row, to)]
            function(*pointers, ctypes.c_int64(1), ctypes.c_int64(INPUTS), None)

    return run, out


def _seconds(run: Callable[[], None]) -> float:
    began = time.thread_time()
    run()
    return time.thread_time() - began


def main() -> None:
    """Measure every type; the blocks must be the same."""
    code = ctypes.CDLL(sys.argv[1], mode=os.RTLD_LAZY)
    rng = np.random.default_rng(0)
    codes = np.clip(np.round(rng.normal(0, 34, (INPUTS, COLUMNS))), -127, 127).astype(np.int8)
    scales = rng.uniform(1e-4, 1e-3, (1, COLUMNS)).astype(np.float32)
    rows = np.ascontiguousarray((codes * scales).T)
    for kind, reach in _TYPES.items():
        (ours, blocks), (theirs, others) = _ours(kind, codes, scales), _theirs(code, kind, rows)
        _seconds(ours), _seconds(theirs)  # kernels compiled, pages touched
        if not np.array_equal(blocks, others):
            sys.exit(f"{kind}: ggml's code makes other blocks")
        ratios = [_seconds(theirs) / _seconds(ours) for _ in range(TURNS)]
        tell(f"{kind}, one thread, times ggml's own code", ratios, "x", at_least=reach)


if __name__ == "__main__":
    main()
