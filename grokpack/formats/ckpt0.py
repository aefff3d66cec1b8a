"""ckpt-0, xAI's format: one pickle per tensor and host, named `tensor{index:05d}_{host:03d}`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from grokpack.core.layout import ArraySlice, FileLayout, Literal, Segment
from grokpack.formats import pickle

if TYPE_CHECKING:
    from grokpack.core.layout import Box
    from grokpack.core.tensors import TensorSpec

NAME = "ckpt-0"
FOLDER = "ckpt-0"  # appended by xAI's loader to the path that it is given
_FILE = re.compile(r"tensor(\d{5})_(\d{3})")


def file_name(index: int, host: int = 0) -> str:
    """Return the name of the file that holds a host's share of a tensor."""
    return f"tensor{index:05d}_{host:03d}"


def parse_name(name: str) -> tuple[int, int] | None:
    """Return the tensor index and the host of a file name; None for any other name."""
    match = _FILE.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def lay_out(
    path: str,
    tensor: TensorSpec,
    boxes: dict[str, Box],
    literals: tuple[bytes, ...] | None = None,
    bf16_flags: int = pickle.RELEASED_BF16_FLAGS,
) -> FileLayout:
    """Lay out one pickle file that holds `boxes` of a tensor's arrays.

    Args:
        path: Path of the file below the root.
        tensor: The tensor, or this host's share of it: shapes as the file states them.
        boxes: The region of each of the tensor's whole arrays that the file holds.
        literals: Framing to use in place of the release's.
        bf16_flags: Flags of bfloat16 in framing that is made here.
    """
    framing = literals or pickle.frame(tensor.values, tensor.scales, bf16_flags).literals
    segments: list[Segment] = [Literal(framing[0])]
    for literal, (array, spec) in zip(framing[1:], tensor.arrays().items(), strict=True):
        segments += [ArraySlice(array, boxes[array], spec.dtype), Literal(literal)]
    return FileLayout(path, tuple(segments))
