"""Speed of the kernels of `quantize`, as `python -m benchmarks.quantizing numpy|numba`.

One line of JSON for each figure. The codes are those of normal
weights in an expert's up projection for one of eight ranks; GB are of its int8. Seconds are those
that the processor spent, so that other programs on the machine disturb less; those of two threads
are by the clock.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from benchmarks.figures import tell
from grokpack.kernels import fp8, integer_quantization, packing
from grokpack.kernels.dispatch import twin
from grokpack.kernels.group_errors import HISTOGRAM_BINS, tally_groups
from grokpack.kernels.integer_steps import BF16, LSQ, MSE, RTN

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.kernels.dispatch import Implementation

INPUTS, COLUMNS, GROUP = 6144, 4096, 128
SHARE = {"numpy": 512, "numba": COLUMNS}  # columns that numpy has the time for
COPIED_BYTES = 1 << 30
RUNS = 5
FIGURES = (  # the last is GB/s to reach
    ("int4 rtn", 4, RTN, True, 4.0),
    ("int4 rtn, asymmetric", 4, RTN, False, None),
    ("int4 mse", 4, MSE, True, 1.0),
    ("int4 mse, asymmetric", 4, MSE, False, None),
    ("int4 lsq", 4, LSQ, True, 0.6),
    ("int4 lsq, asymmetric", 4, LSQ, False, None),
    ("int8 rtn", 8, RTN, True, None),
    ("int8 mse", 8, MSE, True, None),
)


def rates(
    work: Callable[[], object], nbytes: int, clock: Callable[[], float] = time.thread_time
) -> list[float]:
    """GB/s of some runs after one that nobody times."""
    work()
    rates = []
    for _ in range(RUNS):
        began = clock()
        work()
        rates.append(nbytes / (clock() - began) / 1e9)
    return rates


def copying() -> list[float]:
    """GB/s of copying 1 GiB, bytes counted once."""
    source, target = np.ones(COPIED_BYTES, np.uint8), np.zeros(COPIED_BYTES, np.uint8)
    return rates(lambda: np.copyto(target, source), COPIED_BYTES)


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
        kernel = twin(integer_quantization.quantize, implementation)
        kernel(self.codes, self.scales, 0, INPUTS // 8, GROUP, *form, *self.results)


def quantizing(implementation: Implementation) -> None:
    """Every method; for the first, two threads as well."""
    tell(f"{implementation}: numpy.copyto", copying(), "GB/s")
    for figure, bits, method, symmetric, reach in FIGURES:
        matrix, form = Matrix(SHARE[implementation], bits), (bits, method, symmetric, BF16)
        nbytes = matrix.codes.nbytes
        alone = rates(lambda m=matrix, f=form: m.quantize(implementation, f), nbytes)  # type: ignore[misc]
        goal = reach if implementation == "numba" else None
        tell(f"{implementation}: {figure}, one thread", alone, "GB/s", at_least=goal)
    pair = [Matrix(SHARE[implementation], 4) for _ in range(2)]
    tell(f"  {FIGURES[0][0]}, two threads against one", _two_threads(implementation, pair), "x",
         at_least=1.8)  # fmt: skip


def _two_threads(implementation: Implementation, pair: list[Matrix]) -> list[float]:
    """Speed of two threads by the clock, times that of one."""
    form, nbytes, clock = (4, RTN, True, BF16), pair[0].codes.nbytes, time.perf_counter

    def quantize(matrix: Matrix) -> None:
        matrix.quantize(implementation, form)

    one = rates(lambda: quantize(pair[0]), nbytes, clock)
    with ThreadPoolExecutor(2) as pool:
        both = rates(lambda: list(pool.map(quantize, pair)), 2 * nbytes, clock)
    return [two / alone for alone, two in zip(one, both, strict=True)]


FP8 = (
    ("fp8 blocks rtn, int8", "int8", (128, 128), fp8.RTN, 1.0),
    ("fp8 blocks rtn, bf16", "bf16", (128, 128), fp8.RTN, 1.0),
    ("fp8 outputs rtn, int8", "int8", (INPUTS, 1), fp8.RTN, 1.0),
    ("fp8 blocks mse, int8", "int8", (128, 128), fp8.MSE, None),
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
        kernel = twin(fp8.quantize, implementation)
        out = matrix.out if kind == "bf16" else matrix.transposed.T

        def work(
            v: np.ndarray = values,
            scales: np.ndarray = matrix.scales,
            form: tuple[int, int, int] = (*block, method),
            made: tuple[np.ndarray, ...] = (out, *made),
            k: Callable[..., None] = kernel,
        ) -> None:
            k(v, scales, 0, INPUTS // 8, *form, *made)

        goal = reach if implementation == "numba" else None
        speeds = rates(work, values.nbytes)
        tell(f"{implementation}: {figure}, one thread", speeds, "GB/s", at_least=goal)


def turning(implementation: Implementation) -> None:
    """Transposing, and adding up the account."""
    for bits, kernel in ((4, packing.transpose_words), (8, packing.transpose_bytes)):
        matrix, kernel_twin = Matrix(SHARE[implementation], bits), twin(kernel, implementation)
        speeds = rates(lambda m=matrix, t=kernel_twin: t(m.out, m.transposed), matrix.codes.nbytes)  # type: ignore[misc]
        tell(f"{implementation}: int{bits}, transposing what is packed", speeds, "GB/s")
    tally = twin(tally_groups, implementation)
    account = (np.zeros((3, 256), np.int64), np.zeros(6, np.int64), np.zeros(1, np.float32))
    histogram = np.zeros(HISTOGRAM_BINS, np.int64)
    speeds = rates(
        lambda: tally(matrix.sums, matrix.counts, *account, histogram), matrix.codes.nbytes
    )
    tell(f"{implementation}: adding up the account", speeds, "GB/s")


def main(implementation: Implementation) -> None:
    """Measure one implementation."""
    began = time.process_time()
    Matrix(COLUMNS // 64, 4).quantize(implementation, (4, RTN, True, BF16))
    first = time.process_time() - began
    tell(f"{implementation}: first call, loading or compiling", first, "s", at_most=1.0)
    quantizing(implementation)
    quantizing_to_fp8(implementation)
    turning(implementation)


if __name__ == "__main__":
    main("numba" if sys.argv[1:] == ["numba"] else "numpy")
