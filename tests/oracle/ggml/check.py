"""Compare the quantizers, bit for bit, with ggml's C code: `python -m tests.oracle.ggml.check`.

`--library` names a shared library of ggml-quants.c; `make oracle-ggml` makes one. `--fixture FILE`
writes what the ordinary tests compare Q4_K with.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from grokpack.kernels.block_kernels import KERNELS, PRODUCTS
from grokpack.kernels.dispatch import twin
from tests.oracle.ggml import k_quants
from tests.support.ggml_cases import BLOCK_BYTES, TYPES, blocks_of, cases, quantized

SEEDS = 40
SPECIFICATION_SEEDS = 4  # numpy takes a hundred times as long
COLUMNS = 64
ROUNDING = 1 + 1e-5  # errors are compared in float32 while scales are searched
FIXTURE_SEED = 20240317
PLAIN = (*TYPES, "mxfp4")
OFF = dict.fromkeys(TYPES, 2.0**-20) | {"mxfp4": 2.0**-10}
"""How far off weights are that must be seen to differ: levels of MXFP4 are far apart."""
SEARCHED = ("q4_0", "q4_1", "mxfp4")
UNDEFINED = {"mxfp4": ("subnormal", "inverse infinite")}
"""Weights whose exponent would be negative: ggml casts it to uint8, which C does not define."""


class Library:
    """ggml's reference functions on rows of float32."""

    def __init__(self, path: Path) -> None:
        # What the file needs of the rest of ggml is never called, and so never looked for.
        self.code = ctypes.CDLL(str(path), mode=os.RTLD_LAZY)

    def quantize(self, kind: str, rows: np.ndarray) -> np.ndarray:
        """`f32[column, in]` to blocks `u8[column, bytes]`."""
        out = np.zeros((len(rows), blocks_of(kind, rows.shape[1]) * BLOCK_BYTES[kind]), np.uint8)
        function = getattr(self.code, f"quantize_row_{kind.replace('_k', '_K')}_ref")
        self._call(function, rows, out, rows.size)
        return out

    def restore(self, kind: str, blocks: np.ndarray, inputs: int) -> np.ndarray:
        """Blocks to `f32[column, in]`."""
        out = np.zeros((len(blocks), inputs), np.float32)
        function = getattr(self.code, f"dequantize_row_{kind.replace('_k', '_K')}")
        self._call(function, blocks, out, out.size)
        return out

    @staticmethod
    def _call(function: Any, source: np.ndarray, target: np.ndarray, count: int) -> None:
        function(
            source.ctypes.data_as(ctypes.c_void_p),
            target.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(count),
        )


def worst_block(one: np.ndarray, other: np.ndarray, kind: str) -> tuple[int, int]:
    """Blocks that differ, and bits that differ in the worst."""
    differing = np.bitwise_count(one ^ other).reshape(-1, BLOCK_BYTES[kind]).sum(axis=1)
    return int(np.count_nonzero(differing)), int(differing.max(initial=0))


def defined(kind: str, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Weights of every kind of which C says what a type's blocks are."""
    for name, x in cases(seed, 512, COLUMNS).items():
        if name not in UNDEFINED.get(kind, ()):
            yield name, x


def compare(library: Library, kind: str, broken: bool = False) -> int:
    """Print a line for each kind of weights; the number of blocks that differ."""
    kernel = KERNELS[kind].quantize
    found: dict[str, list[int]] = {}
    for seed in range(1 if broken else SEEDS):
        for name, x in defined(kind, seed):
            rows = np.ascontiguousarray(x.T)
            wanted = library.quantize(kind, rows)
            seen = x * np.float32(1 + OFF[kind]) if broken else x
            implementations = ("numba", "numpy") if seed < SPECIFICATION_SEEDS else ("numba",)
            for implementation in implementations:
                made = quantized(twin(kernel, implementation), seen)[0]  # type: ignore[arg-type]
                count, bits = worst_block(made, wanted, kind)
                line = found.setdefault(name, [0, 0, 0])
                line[0] += made.size // BLOCK_BYTES[kind]
                line[1] += count
                line[2] = max(line[2], bits)
            if not broken:
                found[name][1] += restored_otherwise(library, kind, wanted, x.shape[0])
    if broken:
        return sum(line[1] for line in found.values())
    for name, (blocks, count, bits) in found.items():
        print(f"{kind:<5}  {name:<28} {blocks:>9,} blocks {count:>6,} differ, worst {bits} bits")
    return sum(line[1] for line in found.values())


def restored_otherwise(library: Library, kind: str, blocks: np.ndarray, inputs: int) -> int:
    """Columns that the dequantizer reads otherwise than ggml does; one NaN is like another."""
    out = np.zeros((len(blocks), inputs), np.float32)
    PRODUCTS[kind](blocks, out)
    wanted = library.restore(kind, blocks, inputs)
    same = (out.view(np.uint32) == wanted.view(np.uint32)) | (np.isnan(out) & np.isnan(wanted))
    return int(np.count_nonzero(~same.all(axis=1)))


def compare_searched(library: Library, kind: str) -> int:
    """Blocks with searched scales that ggml reads as further from the weights than its own."""
    total = worse = 0
    errors = {}
    for seed in range(SEEDS):
        for name, x in defined(kind, seed):
            rows = np.ascontiguousarray(x.T)
            own = library.restore(kind, library.quantize(kind, rows), x.shape[0])
            made, _, _ = quantized(twin(KERNELS[kind].search, "numba"), x)
            found = library.restore(kind, made, x.shape[0])
            with np.errstate(all="ignore"):
                theirs, ours = (_block_errors(rows, each) for each in (own, found))
                worse += np.count_nonzero(ours > theirs * ROUNDING)
            total += theirs.size
            if name == "normal":
                errors[seed] = (theirs.sum(), ours.sum())
    theirs, ours = np.sum(list(errors.values()), axis=0)
    gain = 10 * np.log10(theirs / ours)
    print(
        f"{kind:<5}  searched: {total:,} blocks, {worse} further from the weights than"
        f" ggml's; {gain:.2f} dB nearer on normal weights"
    )
    return int(worse)


def _block_errors(rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Sum of squared errors of each block of 32, `f64[column, block]`."""
    errors = rows.astype(np.float64) - found
    return (errors * errors).reshape(len(rows), -1, 32).sum(-1)


def write_fixture(library: Library, path: Path) -> None:
    """Blocks of Q4_K for `tests/kernels/test_ggml.py`."""
    made = {
        name: library.quantize("q4_k", np.ascontiguousarray(x.T))
        for name, x in cases(FIXTURE_SEED).items()
    }
    np.savez_compressed(path, **made)
    print(f"wrote {path}")


def main() -> int:
    """Compare all types; 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--fixture", type=Path)
    options = parser.parse_args()
    library = Library(options.library)
    if options.fixture:
        write_fixture(library, options.fixture)
        k_quants.write_digests(
            library.code, FIXTURE_SEED, options.fixture.with_name("digests.json")
        )
        return 0
    differing = sum(compare(library, kind) for kind in PLAIN)
    differing += sum(k_quants.compare(library.code, kind, SEEDS) for kind in k_quants.K_TYPES)
    worse = sum(compare_searched(library, kind) for kind in SEARCHED)
    for kind in PLAIN:
        if not compare(library, kind, broken=True):
            print(f"{kind}: weights that are {OFF[kind]:.0e} off gave the same blocks")
            return 1
    print("all blocks agree" if not differing else f"{differing:,} blocks differ")
    return 1 if differing or worse else 0


if __name__ == "__main__":
    sys.exit(main())
