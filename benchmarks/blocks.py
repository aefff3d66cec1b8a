"""Speed and error of quantizing to GGUF's blocks, as `python -m benchmarks.blocks`.

Lines of figure, value and what is to be reached, separated by tabs. One expert's down projection or
what of it fits the time: int8 codes of normal weights, with one bfloat16 scale per output.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.kernels import fp4, ggml
from grokpack.kernels.dispatch import twin

if TYPE_CHECKING:
    from collections.abc import Callable

INPUTS, COLUMNS = 6144, 4096
COPIED_BYTES = 1 << 28
ROUNDS = 5
REACH = {
    "quantize_q8_0": "1 GB/s",
    "quantize_q4_0": "0.8 GB/s",
    "quantize_q4_1": "",
    "quantize_q4_k": "",
    "search_q4_0": "0.15 GB/s",
    "search_q4_1": "0.15 GB/s",
    "rtn_mxfp4": "0.5 GB/s",
    "rtn_nvfp4": "0.5 GB/s",
    "mse_mxfp4": "",
    "mse_nvfp4": "",
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


def rate(work: Callable[[], object], nbytes: int) -> float:
    """GB/s, the median of several runs."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return nbytes / statistics.median(seconds) / 1e9


def main() -> None:
    """Measure every quantizer."""
    rng = np.random.default_rng(0)
    codes = np.clip(np.round(rng.normal(0, 34, (INPUTS, COLUMNS))), -127, 127).astype(np.int8)
    scales = rng.uniform(1e-4, 1e-3, (1, COLUMNS)).astype(np.float32)
    scales = (scales.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    source, target = np.ones(COPIED_BYTES, np.uint8), np.zeros(COPIED_BYTES, np.uint8)
    copy = rate(lambda: np.copyto(target, source), COPIED_BYTES)
    for name, reach in REACH.items():
        work, other = (work_of(name, codes, scales) for _ in range(2))
        began = time.perf_counter()
        work_of(name, codes[:, :64].copy(), scales[:, :64].copy())()
        print(f"{name}, first call: loading or compiling\t{time.perf_counter() - began:.2f} s\t")
        alone = rate(work, codes.nbytes)
        print(f"{name}, one thread\t{alone:.3f} GB/s\t{reach}")
        print(f"  as a share of numpy.copyto\t{alone / copy:.3f}\t")
        with ThreadPoolExecutor(2) as pool:
            both = rate(lambda w=(work, other): list(pool.map(lambda o: o(), w)), 2 * codes.nbytes)  # type: ignore[misc]
        print(f"  two threads against one\t{both / alone:.2f} x\t1.8 x")
        print(f"  signal over error\t{work.decibels():.2f} dB\t")


if __name__ == "__main__":
    main()
