"""Synthetic values depend on the seed alone, whichever tile asks and however they are summed."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from grokpack.core.layout import Box
from grokpack.transforms.random_values import BLOCK_ELEMENTS, RandomCodes, RandomFloats

if TYPE_CHECKING:
    from grokpack.transforms.array_source import ArraySource

SHAPE = (5, BLOCK_ELEMENTS // 2 + 3)
OPS: dict[str, tuple[RandomCodes | RandomFloats, int]] = {
    "codes": (RandomCodes("a", SHAPE, 7), 3721822974),
    "float32": (RandomFloats("a", SHAPE, 7, 0.5, 2.0), 1242091024),
    "bfloat16": (RandomFloats("a", SHAPE, 7, 0.0, 0.1, bf16=True), 2758172410),
}
NOTHING = cast("ArraySource", None)  # these ops read no other array


@pytest.mark.parametrize("kind", OPS)
def test_values_are_the_same_in_every_version(kind: str) -> None:
    op, checksum = OPS[kind]
    assert zlib.crc32(op.make(Box((0, 0), SHAPE), NOTHING).tobytes()) == checksum


@pytest.mark.parametrize("kind", OPS)
@pytest.mark.parametrize(("first", "rows"), [(0, 1), (1, 1), (1, 2), (2, 3), (4, 1)])
def test_rows_made_alone_are_those_of_the_whole(kind: str, first: int, rows: int) -> None:
    op, _ = OPS[kind]
    whole = op.make(Box((0, 0), SHAPE), NOTHING)
    alone = op.make(Box((first, 0), (rows, SHAPE[1])), NOTHING)
    assert np.array_equal(alone, whole[first : first + rows])
