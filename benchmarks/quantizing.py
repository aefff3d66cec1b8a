"""Speed of the kernels of `quantize`, as `python -m benchmarks.quantizing numpy|numba`.

Lines of figure, value and what is to be reached, separated by tabs. The codes are those of normal
weights in an expert's up projection for one of eight ranks; GB are of its int8. Seconds are those
that the processor spent, so that other programs on the machine disturb less; those of two threads
are by the clock.
"""

from __future__ import annotations

import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from grokpack.kernels import groupwise
from grokpack.kernels.dispatch import twin
from grokpack.kernels.groupwise import BF16, HISTOGRAM_BINS, LSQ, MSE, RTN

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.kernels.dispatch import Implementation

INPUTS, COLUMNS, GROUP = 6144, 4096, 128
SHARE = {"numpy": 512, "numba": COLUMNS}  # columns that numpy has the time for
COPIED_BYTES = 1 << 30
RUNS = 5
FIGURES = (
    ("int4 rtn", 4, RTN, True, "0.15 of numpy.copyto"),
    ("int4 rtn, asymmetric", 4, RTN, False, ""),
    ("int4 mse", 4, MSE, True, "0.27 GB/s"),
    ("int4 mse, asymmetric", 4, MSE, False, ""),
    ("int4 lsq", 4, LSQ, True, "0.12 GB/s"),
    ("int4 lsq, asymmetric", 4, LSQ, False, ""),
    ("int8 rtn", 8, RTN, True, ""),
    ("int8 mse", 8, MSE, True, ""),
)


def rate(
    work: Callable[[], object], nbytes: int, clock: Callable[[], float] = time.thread_time
) -> float:
    """GB/s, the median of some runs after one that nobody times."""
    work()
    seconds = []
    for _ in range(RUNS):
        began = clock()
        work()
        seconds.append(clock() - began)
    return nbytes / statistics.median(seconds) / 1e9


def copy_rate() -> float:
    """GB/s of copying 1 GiB, bytes counted once."""
    source, target = np.ones(COPIED_BYTES, np.uint8), np.zeros(COPIED_BYTES, np.uint8)
    return rate(lambda: np.copyto(target, source), COPIED_BYTES)


class Matrix:
    """Codes of an expert matrix, and room for what becomes of them."""

    def __init__(self, columns: int, bits: int) -> None:
        rng = np.random.default_rng(0)
        noise = rng.normal(0, 34, (INPUTS, columns))
        self.codes = np.clip(np.round(noise), -127, 127).astype(np.int8)
        scales = rng.uniform(1e-4, 1e-3, (8, columns)).astype(ml_dtypes.bfloat16)
        self.scales = scales.astype(np.float32)
        groups = INPUTS // GROUP
        kind, rows = (np.uint32, INPUTS // 8) if bits == 4 else (np.uint8, INPUTS)
        self.sums = np.zeros((3, groups, columns), np.float32)
        self.counts = np.zeros((2, groups, columns), np.int32)
        self.out = np.zeros((rows, columns), kind)
        self.transposed = np.zeros((columns, rows), kind)
        steps, zeros = (
            np.zeros((groups, columns), np.float32),
            np.zeros((groups, columns), np.uint8),
        )
        self.results = (self.out, steps, zeros, self.sums, self.counts)

    def quantize(self, implementation: Implementation, form: tuple[int, int, bool, int]) -> None:
        """All columns."""
        kernel = twin(groupwise.quantize, implementation)
        kernel(self.codes, self.scales, 0, INPUTS // 8, GROUP, *form, *self.results)


def quantizing(implementation: Implementation) -> None:
    """Every method; for the first, two threads as well."""
    copying = copy_rate()
    for figure, bits, method, symmetric, reach in FIGURES:
        matrix, form = Matrix(SHARE[implementation], bits), (bits, method, symmetric, BF16)
        nbytes = matrix.codes.nbytes
        alone = rate(lambda m=matrix, f=form: m.quantize(implementation, f), nbytes)  # type: ignore[misc]
        print(f"{figure}\t{alone:.2f} GB/s, {alone / copying:.3f} of copying\t{reach}")
        if method == RTN and bits == 4 and symmetric:
            pair = (matrix, Matrix(SHARE[implementation], bits))
            clock = time.perf_counter
            one = rate(lambda m=matrix, f=form: m.quantize(implementation, f), nbytes, clock)  # type: ignore[misc]
            with ThreadPoolExecutor(2) as pool:
                both = rate(
                    lambda p=pool, q=pair, f=form: list(  # type: ignore[misc]
                        p.map(lambda m: m.quantize(implementation, f), q)
                    ),
                    2 * nbytes,
                    clock,
                )
            print(f"  two threads against one\t{both / one:.2f} x\t1.8 x")


def turning(implementation: Implementation) -> None:
    """Transposing, and adding up the account."""
    for bits, kernel in ((4, groupwise.transpose_words), (8, groupwise.transpose_bytes)):
        matrix, kernel_twin = Matrix(SHARE[implementation], bits), twin(kernel, implementation)
        speed = rate(lambda m=matrix, t=kernel_twin: t(m.out, m.transposed), matrix.codes.nbytes)  # type: ignore[misc]
        print(f"int{bits}, transposing what is packed\t{speed:.2f} GB/s\t")
    tally = twin(groupwise.tally_groups, implementation)
    account = (np.zeros((3, 256), np.int64), np.zeros(6, np.int64), np.zeros(1, np.float32))
    histogram = np.zeros(HISTOGRAM_BINS, np.int64)
    speed = rate(
        lambda: tally(matrix.sums, matrix.counts, *account, histogram), matrix.codes.nbytes
    )
    print(f"adding up the account\t{speed:.2f} GB/s\t")


def main(implementation: Implementation) -> None:
    """Measure one implementation."""
    began = time.process_time()
    Matrix(COLUMNS // 64, 4).quantize(implementation, (4, RTN, True, BF16))
    print(f"first call: loading or compiling\t{time.process_time() - began:.2f} s\t")
    quantizing(implementation)
    turning(implementation)


if __name__ == "__main__":
    main("numba" if sys.argv[1:] == ["numba"] else "numpy")
