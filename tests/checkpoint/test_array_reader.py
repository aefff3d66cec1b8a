"""Reading ahead gives what reading gives, whatever the order, and reads no more than it must."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.checkpoint.array_reader import ArrayReader, StoredArrays
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.core.arrays import contiguous
from grokpack.core.layout import Box, whole_box
from grokpack.models.architecture import Geometry
from tests.support.checkpoints import synthesize
from tests.support.conversions import convert

TINY = Geometry(
    vocab=32, d_model=64, layers=1, experts=2, ffn=256, q_width=256, kv_width=64, head_dim=16
)
NAME = "model.layers.0.moe_block.experts.1.linear_1.weight"  # [64, 256]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("reading")
    convert(synthesize(place / "in", TINY), place / "hf", "hf")
    return place / "hf"


class Counting(StoredArrays):
    """Remembers what is read of the files."""

    def read(self, array: str, box: Box, into: np.ndarray | None = None) -> np.ndarray:
        self.boxes: list[Box] = [*getattr(self, "boxes", []), box]
        return super().read(array, box, into)


@given(st.data())
def test_reading_ahead_gives_what_reading_gives(folder: Path, data: Any) -> None:
    checkpoint = open_checkpoint(str(folder))
    shape = checkpoint.layout.arrays[NAME].shape
    held = ArrayReader(checkpoint).read(NAME, whole_box(shape))
    reader = ArrayReader(checkpoint, ahead_bytes=data.draw(st.sampled_from([0, 4096, 1 << 20])))
    column = 0
    for _ in range(data.draw(st.integers(1, 12))):
        rows = data.draw(st.sampled_from([(0, 64), (0, 32), (32, 32), (5, 1)]))
        jump = data.draw(st.sampled_from([0, 0, 0, -3, 40, -200]))
        column = min(max(column + jump, 0), shape[1] - 1)
        width = min(data.draw(st.integers(1, 30)), shape[1] - column)
        box = Box((rows[0], column), (rows[1], width))
        made = reader.read_ahead(NAME, box)
        np.testing.assert_array_equal(made, held[box.slices_in(whole_box(shape))])
        column = min(column + width, shape[1] - 1)


def test_only_what_goes_on_is_read_ahead(folder: Path) -> None:
    reader = Counting(open_checkpoint(str(folder)), "numpy", 1 << 20)
    for column in (0, 128, 8, 136, 16, 144):  # two ranks in turn
        reader.read_ahead(NAME, Box((0, column), (64, 8)))
    assert {box.shape for box in reader.boxes} == {(64, 8)}
    reader.boxes = []
    for column in range(0, 256, 8):
        reader.read_ahead(NAME, Box((0, column), (64, 8)))
    assert [box.shape for box in reader.boxes] == [(64, 8), (64, 248)]


@pytest.mark.parametrize("shape", [(3,), (5, 200), (200, 5), (2, 130, 70)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
def test_what_lies_the_other_way_round_is_made_dense(shape: tuple[int, ...], kind: Any) -> None:
    array = np.arange(np.prod(shape)).astype(kind).reshape(shape)
    for view in (array, array.T, array.swapaxes(0, -1)[..., 1:], array[..., ::2]):
        made = contiguous(view)
        assert made.flags.c_contiguous
        np.testing.assert_array_equal(made, view)
