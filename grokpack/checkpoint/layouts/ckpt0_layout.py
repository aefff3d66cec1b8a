"""Layout of ckpt-0: one pickle for each tensor and host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.layout import FileLayout, whole_box
from grokpack.core.tensors import ArraySpec, TensorSpec
from grokpack.formats import ckpt0, pickle
from grokpack.models import partition

if TYPE_CHECKING:
    from grokpack.core.layout import Box
    from grokpack.models.architecture import Geometry, ModelTensor


def lay_out_tensor(
    prefix: str,
    geometry: Geometry,
    entry: ModelTensor,
    tensor: TensorSpec,
    hosts: int,
    literals: list[tuple[bytes, ...]] | None = None,
    bf16_flags: int = pickle.RELEASED_BF16_FLAGS,
) -> tuple[FileLayout, ...]:
    """Lay out the group of files, one per host, that hold a tensor.

    Args:
        prefix: Folder of the files below the root, empty or ending in a slash.
        geometry: The model.
        entry: The tensor in the model.
        tensor: The whole tensor as it is stored.
        hosts: Hosts that share it by xAI's partition rules.
        literals: Framing for each host's file, in place of the release's.
        bf16_flags: Flags of bfloat16 where there are no literals.
    """
    arrays = tensor.arrays()
    shares = partition.shares(geometry, entry, arrays, hosts, "jax")
    group = []
    for host in range(hosts):
        boxes = {
            name: share[host] if share else whole_box(arrays[name].shape)
            for name, share in shares.items()
        }
        path = prefix + ckpt0.file_name(entry.index, host)
        share_spec = _share_spec(tensor, boxes)
        framing = literals[host] if literals else None
        group.append(ckpt0.lay_out(path, share_spec, boxes, framing, bf16_flags))
    return tuple(group)


def _share_spec(tensor: TensorSpec, boxes: dict[str, Box]) -> TensorSpec:
    """Return a tensor of the same name with the shapes of one host's share."""
    specs = [ArraySpec(boxes[name].shape, array.dtype) for name, array in tensor.arrays().items()]
    return TensorSpec(tensor.name, specs[0], specs[1] if len(specs) > 1 else None)
