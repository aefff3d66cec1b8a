"""Speed of counting int8 codes, as `python -m benchmarks.counting numpy|numba`.

Lines of figure, value and what is to be reached, separated by tabs. The codes are those of normal
weights whose scale is chosen by their largest, in bands as the program reads them.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from grokpack.kernels.tally import CodeTally, FloatTally

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.kernels.dispatch import Implementation

BAND = (168, 6144)  # a megabyte of an expert's down projection
ROUNDS = 200
COPIED_BYTES = 1 << 30
REACH = {"numpy": "0.5 GB/s", "numba": "1.5 GB/s"}


def best_rate(work: Callable[[], object], nbytes: int) -> float:
    """GB/s of the best of five."""
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return nbytes / min(seconds) / 1e9


def copy_rate() -> float:
    """GB/s of copying 1 GiB, bytes counted once."""
    source, target = np.ones(COPIED_BYTES, np.uint8), np.zeros(COPIED_BYTES, np.uint8)
    return best_rate(lambda: np.copyto(target, source), COPIED_BYTES)


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
    nbytes = codes.nbytes * ROUNDS
    alone = best_rate(count, nbytes)
    print(f"statistics of int8, one thread\t{alone:.2f} GB/s\t{REACH[implementation]}")
    print(f"  as a share of numpy.copyto\t{alone / copy_rate():.2f}\t")
    with ThreadPoolExecutor(2) as pool:
        both = best_rate(lambda: list(pool.map(count, range(2))), 2 * nbytes)
    print(f"  two threads against one\t{both / alone:.2f} x\t")
    print(f"statistics of float32, one thread\t{best_rate(count_floats, nbytes):.2f} GB/s\t")
    print(f"first call: loading or compiling\t{first:.2f} s\t")


if __name__ == "__main__":
    main("numba" if sys.argv[1:] == ["numba"] else "numpy")
