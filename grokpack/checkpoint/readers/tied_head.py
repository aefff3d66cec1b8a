"""Check that a separately stored output head equals the embedding, as in Grok-1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from grokpack import storage
from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.core.finding import Finding
from grokpack.core.layout import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import Shape

_ROUNDED = 0.5  # of the squares: twice those is the distance of rows that have nothing in common
_SAMPLES = 64  # evenly spaced rows: a head that was trained apart differs in every one


def check_head(checkpoint: Checkpoint, embedding: str, head: str) -> list[Finding]:
    """Compare rows of the head with those of the embedding.

    Args:
        checkpoint: The checkpoint of both.
        embedding: Name of the stored embedding, `[vocab, d_model]`.
        head: Name of the head, of the same shape.
    """
    arrays = checkpoint.layout.arrays
    if arrays[embedding] != arrays[head]:
        facts = str(arrays[embedding].shape), str(arrays[head].shape)
        what = "the output head has another shape or dtype than the embedding"
        return [Finding("GP218", what, None, head, *facts)]
    reader = ArrayReader(checkpoint)

    def differs(box: Box) -> bool:
        return bool((reader.read(embedding, box) != reader.read(head, box)).any())

    boxes = list(_rows(arrays[embedding].shape))
    found = storage.map_all(checkpoint.folder, differs, boxes)
    if True in found:
        return [_different(head, boxes[found.index(True)])]
    return []


def check_rounded_head(
    shape: Shape, head: str, rows: tuple[Callable[[Box], np.ndarray], Callable[[Box], np.ndarray]]
) -> list[Finding]:
    """Compare rows of the head with those of the embedding where each was rounded by itself.

    Args:
        shape: `[vocab, d_model]` of both.
        head: Name of the head.
        rows: Return rows of the embedding and of the head, `f32[row, d_model]`.
    """
    for box in _rows(shape):
        one, other = (read(box).astype(np.float64) for read in rows)
        if np.square(one - other).sum() > _ROUNDED * np.square(one).sum():
            return [_different(head, box)]
    return []


def _different(head: str, box: Box) -> Finding:
    what = "the output head differs from the embedding, to which Grok-1 ties it"
    return Finding("GP218", what, None, head, None, f"row {box.start[0]}")


def _rows(shape: tuple[int, ...]) -> Iterator[Box]:
    step = max(1, shape[0] // _SAMPLES)
    return (Box((row, 0), (1, shape[1])) for row in range(0, shape[0], step))
