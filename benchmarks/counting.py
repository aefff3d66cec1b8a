"""Speed of counting int8 codes, as `python -m benchmarks.counting numpy|numba`.

One line of JSON for each figure. The codes are those of normal
weights whose scale is chosen by their largest, in bands as the program reads them.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figures import tell
from grokpack.kernels.tally import CodeTally, FloatTally

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.kernels.dispatch import Implementation

BAND = (168, 6144)  # a megabyte of an expert's down projection
ROUNDS = 200
REACH = {"numpy": 0.5, "numba": 1.5}  # GB/s


def rates(work: Callable[[], object], nbytes: int) -> list[float]:
    """GB/s of five runs."""
    found = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        found.append(nbytes / (time.perf_counter() - began) / 1e9)
    return found


def main(implementation: Implementation) -> None:
    """Measure one implementation."""
    rng = np.random.default_rng(0)
    codes = np.clip(np.round(rng.normal(0, 34, BAND)), -127, 127).astype(np.int8)
    scales = rng.uniform(1e-4, 1e-3, BAND[1]).astype(np.float32)
    values = rng.normal(0, 0.0127, codes.nbytes // 4).astype(np.float32)

    def count(_: int = 0) -> None:
        tally = CodeTally(implementation)
        for _round in range(ROUNDS):
            tally.add(codes, scales)
        tally.close()

    def count_floats() -> None:
        tally = FloatTally(implementation)
        for _round in range(ROUNDS):
            tally.add(values)

    began = time.perf_counter()
    one = CodeTally(implementation)
    one.add(codes, scales)
    one.close()
    first = time.perf_counter() - began
    nbytes, who = codes.nbytes * ROUNDS, implementation
    alone = rates(count, nbytes)
    tell(f"{who}: statistics of int8, one thread", alone, "GB/s", at_least=REACH[who])
    with ThreadPoolExecutor(2) as pool:
        both = rates(lambda: list(pool.map(count, range(2))), 2 * nbytes)
    tell("  two threads against one", [b / a for a, b in zip(alone, both, strict=True)], "x")
    tell(f"{who}: statistics of float32, one thread", rates(count_floats, nbytes), "GB/s")
    tell(f"{who}: first call of statistics, loading or compiling", first, "s", at_most=1.0)


if __name__ == "__main__":
    main("numba" if sys.argv[1:] == ["numba"] else "numpy")
