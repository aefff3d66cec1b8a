"""Arrays as engines store them: floating-point matrices `[out, in]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.tensors import ArraySpec, DType
from grokpack.transforms.dequantize import Cast, Transpose

if TYPE_CHECKING:
    from grokpack.core.tensors import TensorSpec
    from grokpack.models.architecture import ModelTensor
    from grokpack.transforms.protocols import Op

FLOATS = {"bf16": DType.BF16, "f16": DType.F16, "f32": DType.F32}


def engine_array(
    entry: ModelTensor,
    tensor: TensorSpec,
    dtype: DType,
    expert: int | None = None,
    groups: int | None = None,
) -> tuple[ArraySpec, Op]:
    """Return shape and dtype of a tensor as engines store it, with its op.

    Router and norms are float32 whatever is asked for: they are as small as they are sensitive,
    and the reference computes with them in float32.

    Args:
        entry: Which tensor of the model.
        tensor: The source's, `[..., in, out]`.
        dtype: Of matrices and the embedding.
        expert: The one expert that the array holds; None for the whole stack.
        groups: Scale groups of the tensor, where the source has them expanded.
    """
    shape, source = tensor.values.shape, tensor.values.dtype
    if entry.rule.role == "norm":
        return ArraySpec(shape, DType.F32), Cast(tensor.name, source, DType.F32)
    if entry.rule.by_token:
        return ArraySpec(shape, dtype), Cast(tensor.name, source, dtype)
    kept = DType.F32 if entry.rule.role == "router" else dtype
    lead = shape[:-2] if expert is None else ()
    turned = (*lead, shape[-1], shape[-2])
    return ArraySpec(turned, kept), Transpose(tensor, kept, expert, groups)
