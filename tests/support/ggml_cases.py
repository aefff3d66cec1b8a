"""Weights of every kind that GGUF's blocks meet, the same on every machine and numpy.

They are made from the raw words of PCG64 by exact arithmetic, because numpy may change the streams
of its distributions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from grokpack.kernels import ggml_k

TYPES = ("q8_0", "q4_0", "q4_1", "q4_k")
BLOCK_BYTES = {"q8_0": 34, "q4_0": 18, "q4_1": 20, "q4_k": 144, "mxfp4": 17}
LAST_STEP_SEED = 86
"""Of few weights does the last of the 21 steps of Q4_K fit best: here of one in four columns."""
NAMES = {"q8_0": "Q8_0", "q4_0": "Q4_0", "q4_1": "Q4_1", "q4_k": "Q4_K"}
K_TYPES = tuple(ggml_k.TYPES)


def blocks_of(kind: str, inputs: int) -> int:
    return inputs // (256 if kind == "q4_k" else 32)


def quantized(
    kernel: Any,
    values: np.ndarray,
    scales: np.ndarray | None = None,
    per_group: int | None = None,
    part: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a quantizer fills: blocks, sums and counts; `part` is first column and number."""
    inputs, columns = values.shape
    column, count = part or (0, columns)
    if scales is None:
        scales = np.ones((1, columns), np.float32)
    kind = kernel.__name__.partition("_")[2]
    out = np.full((count, blocks_of(kind, inputs) * BLOCK_BYTES[kind]), 0xAA, np.uint8)
    sums = np.full((3, inputs // 32, count), 7, np.float32)
    counts = np.full((2, inputs // 32, count), 7, np.int32)
    kernel(values, scales, column, per_group or inputs, out, sums, counts)
    return out, sums, counts


def normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Near normal, of deviation 1: four numbers of 16 bits added, f32."""
    words = np.random.PCG64(seed).random_raw(int(np.prod(shape))).astype(np.uint64)
    parts = [(words >> np.uint64(16 * i)).astype(np.uint16).astype(np.int64) for i in range(4)]
    total = np.sum(parts, axis=0) - 2 * 65535
    scaled: np.ndarray = total.astype(np.float32) / np.float32(37837)
    return scaled.reshape(shape)


def cases(seed: int, inputs: int = 512, columns: int = 4) -> dict[str, np.ndarray]:
    """`f32[in, column]` of each kind."""
    shape = (inputs, columns)
    z = normal(seed, shape)
    codes = np.clip(np.round(z * 34), -128, 127).astype(np.float32)
    scale = np.float32(0.00037384033203125)  # a bfloat16
    one = np.float32
    spikes, ends, sparse, mixed = z.copy(), codes.copy(), z.copy(), z.copy()
    spikes[17::256] *= one(200)
    ends[::5] = -128
    sparse[np.abs(z) < one(1.9)] = 0
    for sub in range(0, inputs, 32):
        mixed[sub : sub + 32] *= one(2.0 ** (sub // 32 % 17 - 8))
    constant = np.zeros(shape, np.float32) + z[:1]
    return {
        "normal": z * one(0.0127),
        "int8 codes": codes * scale,
        "int8 codes, negative scale": codes * -scale,
        "ends of int8": ends * scale,
        "outliers": spikes,
        "sparse": sparse,
        "sub-blocks of all sizes": mixed,
        "last step": _cubes(normal(LAST_STEP_SEED, shape)),
        "positive": np.abs(z) + one(3),
        "negative": -np.abs(z) - one(3),
        "zero": np.zeros(shape, np.float32),
        "negative zero": -np.zeros(shape, np.float32),
        "constant": constant,
        "two values": np.sign(z),
        "scale subnormal in float16": z * one(1e-6),
        "scale zero in float16": z * one(1e-9),
        "subnormal": z * one(2.0**-140),
        "inverse infinite": z * one(2.0**-130),
        "scale infinite in float16": z * one(1e7),
        "large": z * one(1e30),
    }


def _cubes(values: np.ndarray) -> np.ndarray:
    """Third powers; numpy's own differ in the last bit between processors."""
    wide = values.astype(np.float64)
    cubes: np.ndarray = (wide * wide * wide).astype(np.float32)
    return cubes


def side_by_side(seed: int) -> tuple[list[str], np.ndarray]:
    """Names of all kinds, and their columns in one array, `f32[512, 4 * kind]`."""
    made = cases(seed)
    return list(made), np.concatenate(list(made.values()), axis=1)


def importance(seed: int, inputs: int = 512) -> np.ndarray:
    """Importance of inputs, over four orders of magnitude and now and then zero, `f32[in]`."""
    z = normal(seed, (inputs,))
    made: np.ndarray = np.where(
        z < np.float32(-1.5), np.float32(0), z * z * z * z + np.float32(2**-6)
    )
    return made
