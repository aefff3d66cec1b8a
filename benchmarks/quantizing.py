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

from grokpack.kernels import fp8, groupwise
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


FP8 = (
    ("fp8 blocks rtn, int8", "int8", (128, 128), fp8.RTN, "1.0 GB/s"),
    ("fp8 blocks rtn, bf16", "bf16", (128, 128), fp8.RTN, "1.0 GB/s"),
    ("fp8 outputs rtn, int8", "int8", (INPUTS, 1), fp8.RTN, "1.0 GB/s"),
    ("fp8 blocks mse, int8", "int8", (128, 128), fp8.MSE, ""),
)


def quantizing_to_fp8(implementation: Implementation) -> None:
    """FP8 from codes as xAI lays them, turned for engines, and from bfloat16 as engines lay it."""
    for figure, kind, block, method, reach in FP8:
        matrix = Matrix(SHARE[implementation], 8)
        values: np.ndarray = matrix.codes
        if kind == "bf16":
            values = (matrix.codes * np.float32(1e-3)).astype(ml_dtypes.bfloat16).view(np.uint16)
        shape = tuple(-(-n // b) for n, b in zip(values.shape, block, strict=True))
        made = (np.zeros(shape, np.float32), np.zeros((3, *shape), np.float32),
                np.zeros((2, *shape), np.int32))  # fmt: skip
        kernel, turn = (twin(f, implementation) for f in (fp8.quantize, groupwise.transpose_bytes))

        def work(
            v: np.ndarray = values,
            m: Matrix = matrix,
            form: tuple[int, int, int] = (*block, method),
            made: tuple[np.ndarray, ...] = made,
            k: Callable[..., None] = kernel,
            t: Callable[..., None] = turn,
        ) -> None:
            k(v, m.scales, 0, INPUTS // 8, *form, m.out, *made)
            if v.dtype == np.int8:
                t(m.out, m.transposed)

        print(f"{figure}\t{rate(work, values.nbytes):.2f} GB/s\t{reach}")


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
    quantizing_to_fp8(implementation)
    turning(implementation)


if __name__ == "__main__":
    main("numba" if sys.argv[1:] == ["numba"] else "numpy")
