"""Compiled kernels, and their twins in numpy, in processes of their own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.bench import Bench

_MODULES = ("counting", "quantizing")


def bench_kernels(bench: Bench) -> None:
    """Counting and quantizing int8 codes against copying them."""
    _bench(bench, "numba")


def bench_numpy_kernels(bench: Bench) -> None:
    """The specification in numpy, which runs where numba is missing."""
    _bench(bench, "numpy")


def bench_blocks(bench: Bench) -> None:
    """Quantizing to GGUF's blocks and to four-bit floats."""
    bench.child(sys.executable, "-m", "benchmarks.blocks")


def _bench(bench: Bench, implementation: str) -> None:
    for module in _MODULES:
        bench.child(sys.executable, "-m", f"benchmarks.{module}", implementation)
