"""Speed and error of quantizing to GGUF's blocks, as `python -m benchmarks.blocks`.

One line of JSON for each figure. One expert's down projection or
what of it fits the time: int8 codes of normal weights, with one bfloat16 scale per output.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.figures import tell
from grokpack.kernels import fp4, ggml
from grokpack.kernels.dispatch import twin

if TYPE_CHECKING:
    from collections.abc import Callable

INPUTS, COLUMNS = 6144, 4096
COPIED_BYTES = 1 << 28
ROUNDS = 5
REACH = {  # GB/s
    "quantize_q8_0": 3.0,
    "quantize_q4_0": 2.0,
    "quantize_q4_1": None,
    "quantize_q4_k": 0.4,
    "search_q4_0": None,
    "search_q4_1": None,
    "rtn_mxfp4": 0.5,
    "rtn_nvfp4": 0.5,
    "mse_mxfp4": None,
    "mse_nvfp4": None,
}


class Work:
    """One kernel and what it reads and fills."""

    def __init__(self, name: str, codes: np.ndarray, scales: np.ndarray) -> None:
        kind = name.partition("_")[2]
        height = 256 if kind == "q4_k" else 32
        columns = codes.shape[1]
        self.kernel: Any = twin(getattr(ggml, name), "numba")
        self.source: tuple[Any, ...] = codes, scales, 0, INPUTS
        self.out = np.zeros((columns, INPUTS // height * ggml.BLOCK_BYTES[kind]), np.uint8)
        self.sums = np.zeros((3, INPUTS // 32, columns), np.float32)
        self.counts = np.zeros((2, INPUTS // 32, columns), np.int32)

    def __call__(self, _: int = 0) -> None:
        """Quantize all of it."""
        self.kernel(*self.source, self.out, self.sums, self.counts)

    def decibels(self) -> float:
        """Signal over error, of what was quantized last."""
        signal, error, _ = self.sums.sum(axis=(1, 2), dtype=np.float64)
        return float(10 * np.log10(signal / error))


class FloatWork(Work):
    """Quantizing to four-bit floats, with or without a search."""

    def __init__(self, name: str, codes: np.ndarray, scales: np.ndarray) -> None:
        method, _, kind = name.partition("_")
        unit = float(np.float32(2688) / (127 * scales.max())) if kind == "nvfp4" else None
        blocks, columns = INPUTS // (16 if unit else 32), codes.shape[1]
        weights = np.ones(INPUTS, np.float32) if method == "mse" else None
        self.kernel = twin(fp4.quantize_fp4, "numba")
        self.source = codes, scales, 0, INPUTS, unit, weights
        self.out = np.zeros((columns, INPUTS // 2), np.uint8)
        self.chosen = np.zeros((columns, blocks), np.uint8)
        self.sums = np.zeros((3, blocks, columns), np.float32)
        self.counts = np.zeros((2, blocks, columns), np.int32)

    def __call__(self, _: int = 0) -> None:
        """Quantize all of it."""
        self.kernel(*self.source, self.out, self.chosen, self.sums, self.counts)


def work_of(name: str, codes: np.ndarray, scales: np.ndarray) -> Work:
    """Return the work of a row."""
    made = FloatWork if name.endswith("fp4") else Work
    return made(name, codes, scales)


def rates(work: Callable[[], object], nbytes: int) -> list[float]:
    """GB/s of several runs."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        found.append(nbytes / (time.perf_counter() - began) / 1e9)
    return found


def main() -> None:
    """Measure every quantizer."""
    rng = np.random.default_rng(0)
    codes = np.clip(np.round(rng.normal(0, 34, (INPUTS, COLUMNS))), -127, 127).astype(np.int8)
    scales = rng.uniform(1e-4, 1e-3, (1, COLUMNS)).astype(np.float32)
    scales = (scales.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    source, target = np.ones(COPIED_BYTES, np.uint8), np.zeros(COPIED_BYTES, np.uint8)
    copying = statistics.median(rates(lambda: np.copyto(target, source), COPIED_BYTES))
    for name, reach in REACH.items():
        work, other = (work_of(name, codes, scales) for _ in range(2))
        began = time.perf_counter()
        work_of(name, codes[:, :64].copy(), scales[:, :64].copy())()
        first = time.perf_counter() - began
        alone = rates(work, codes.nbytes)
        tell(f"{name}, one thread", alone, "GB/s", at_least=reach)
        tell("  as a share of numpy.copyto", [speed / copying for speed in alone], "x")
        with ThreadPoolExecutor(2) as pool:
            pair = (work, other)
            both = rates(lambda p=pair: list(pool.map(lambda o: o(), p)), 2 * codes.nbytes)  # type: ignore[misc]
        ratios = [b / a for a, b in zip(alone, both, strict=True)]
        tell("  two threads against one", ratios, "x", at_least=1.8)
        tell("  first call, loading or compiling", first, "s", at_most=1.0)
        tell("  signal over error", work.decibels(), "dB")


if __name__ == "__main__":
    main()
