"""Arrays as engines store them: floating-point matrices `[out, in]`, each expert its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.conversion.writers.huggingface_config import head_copies
from grokpack.conversion.writers.scale_groups import collapsed_groups
from grokpack.core.errors import UnusableValue
from grokpack.core.tensors import ArraySpec, DType
from grokpack.transforms.dequantize import Cast, EngineMatrix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import TensorSpec
    from grokpack.models.architecture import ModelTensor
    from grokpack.models.tensor_names import Convention
    from grokpack.transforms.protocols import Op

FLOATS = {"bf16": DType.BF16, "f16": DType.F16, "f32": DType.F32}


@dataclass(frozen=True, slots=True)
class EngineTensor:
    """Tensor, or one expert of it, under an engine's name.

    Attributes:
        name: The engine's.
        entry: Which tensor of the model.
        tensor: The source's, `[..., in, out]`.
        expert: The one expert; None for the whole tensor.
        groups: Scale groups of the tensor, where the source has them expanded.
        precise: Dtype of router and norms.
    """

    name: str
    entry: ModelTensor
    tensor: TensorSpec
    expert: int | None
    groups: int | None
    precise: DType

    def array(self, dtype: DType) -> tuple[ArraySpec, Op]:
        """Return its shape and dtype in floating point, with its op."""
        return engine_array(
            self.entry, self.tensor, dtype, self.expert, self.groups, precise=self.precise
        )


def engine_arrays(
    source: Checkpoint, convention: Convention, dtype: str
) -> tuple[dict[str, ArraySpec], dict[str, Op]]:
    """Return every array of a folder in floating point, and the op of each.

    Args:
        source: What is converted.
        convention: Names of the tensors.
        dtype: Of the matrices, as `--dtype` has it.

    Raises:
        GrokpackError: GP346 for an unknown dtype.
    """
    if dtype not in FLOATS:
        raise UnusableValue.choice("--dtype", dtype, FLOATS)
    arrays: dict[str, ArraySpec] = {}
    ops: dict[str, Op] = {}
    for own in engine_tensors(source, convention):
        arrays[own.name], ops[own.name] = own.array(FLOATS[dtype])
    return arrays, ops


def engine_tensors(source: Checkpoint, convention: Convention) -> Iterator[EngineTensor]:
    """Yield every tensor under a convention's names, in the order of the network.

    The final norm and the head come last: llama.cpp's converter gathers the experts of a layer
    and writes them when something else follows. Router and norms are as released.
    """
    precise = source.model.family.release_layout.others
    for entry in source.model.network_order():
        tensor = source.tensors[entry.name]
        groups = collapsed_groups(source.geometry, entry, tensor)
        for expert in range(source.geometry.experts) if entry.rule.stacked else (None,):
            name = convention.of(entry, expert)
            yield EngineTensor(name, entry, tensor, expert, groups, precise)
    for name, entry in head_copies(source.model, convention):
        yield EngineTensor(name, entry, source.tensors[entry.name], None, None, precise)


def engine_array(
    entry: ModelTensor,
    tensor: TensorSpec,
    dtype: DType,
    expert: int | None = None,
    groups: int | None = None,
    *,
    precise: DType = DType.F32,
) -> tuple[ArraySpec, Op]:
    """Return shape and dtype of a tensor as engines store it, with its op.

    Router and norms have a dtype of their own whatever is asked for: they are as small as they are
    sensitive, and networks compute with them in float32.

    Args:
        entry: Which tensor of the model.
        tensor: The source's, `[..., in, out]`.
        dtype: Of matrices and the embedding.
        expert: The one expert that the array holds; None for the whole stack.
        groups: Scale groups of the tensor, where the source has them expanded.
        precise: Dtype of router and norms.
    """
    shape, source = tensor.values.shape, tensor.values.dtype
    if entry.rule.role == "norm":
        return ArraySpec(shape, precise), Cast(tensor.name, source, precise)
    if entry.rule.by_token:
        return ArraySpec(shape, dtype), Cast(tensor.name, source, dtype)
    kept = precise if entry.rule.role == "router" else dtype
    lead = shape[:-2] if expert is None else ()
    transposed = (*lead, shape[-1], shape[-2])
    return ArraySpec(transposed, kept), EngineMatrix(tensor, kept, expert, groups)
