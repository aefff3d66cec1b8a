"""Scales that follow codes come from a cache; where it holds none or a part, they are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.core.layout import Box, whole_box
from grokpack.core.lru_cache import LRUCache
from grokpack.models.architecture import Geometry
from grokpack.transforms.buffer_sizes import BufferSizes
from grokpack.transforms.fp4_arrays import Fp4Codes, Fp4Scales
from grokpack.transforms.fp8_arrays import Fp8Scales, Fp8Weight
from grokpack.transforms.quantized_rows import QuantizedRows
from tests.support.checkpoints import synthesize

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.transforms.protocols import StreamedArray

LONG = Geometry(
    vocab=64, d_model=64, layers=1, experts=2, ffn=2112, q_width=64, kv_width=64, head_dim=8
)
"""2,112 outputs: more than are taken from the cache together, and no whole number of chunks."""
STEPS = BufferSizes(step_bytes=1 << 14, band_bytes=1 << 16)
FORMS: dict[str, dict[str, Any]] = {
    "blocks": {"to": "fp8"},
    "outputs": {"to": "fp8", "group": "channel"},
    "mxfp4": {"to": "mxfp4"},
    "nvfp4": {"to": "nvfp4"},
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(str(synthesize(tmp_path_factory.mktemp("source"), LONG)))


def rows(op: StreamedArray, box: Box, reader: ArrayReader) -> np.ndarray:
    """Rows of an array as a file gets them."""
    made = op.stream(box, reader, STEPS)
    return np.concatenate([one.values if isinstance(one, QuantizedRows) else one for one in made])


@pytest.mark.parametrize("form", FORMS)
def test_scales_are_the_same_whatever_the_cache_holds(source: Checkpoint, form: str) -> None:
    target = plan_quantize(source, QuantizeOptions(**FORMS[form])).target
    shapes = {name: spec.shape for name, spec in target.layout.arrays.items()}
    (codes, *_), (scales, *_) = (
        [
            (op, whole_box(shapes[name]))
            for name, op in target.ops.items()
            if isinstance(op, kinds) and shapes[name][0] in (LONG.ffn, -(-LONG.ffn // 128))
        ]
        for kinds in ((Fp8Weight, Fp4Codes), (Fp8Scales, Fp4Scales))
    )
    assert codes[0].describe()[1:] == scales[0].describe()[1:]
    reader = ArrayReader(source)
    rows(*codes, reader)
    kept = rows(*scales, reader)
    assert kept.shape == scales[1].shape
    part, each = ArrayReader(source), -(-LONG.ffn // len(kept))
    rows(codes[0], Box((640, 0), (1024, codes[1].shape[1])), part)
    bare = ArrayReader(source)
    bare.cache = LRUCache(0)
    for again in (part, bare):
        for first, last in ((0, LONG.ffn), (0, 128), (700, 1301), (2048, LONG.ffn)):
            low, high = first // each, -(-last // each)
            box = Box((low, 0), (high - low, kept.shape[1]))
            assert rows(scales[0], box, again).tobytes() == kept[low:high].tobytes()
