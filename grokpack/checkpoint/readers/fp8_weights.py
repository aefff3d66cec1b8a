"""Weights in FP8: codes in E4M3 or E5M2, with scales of blocks, of outputs, or of all.

`weight_scale_inv`, or `weight_scale`, multiplies. They are read as float32 products.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from grokpack.core.finding import Finding
from grokpack.core.tensors import ArraySpec, DType, FloatPacking, TensorSpec, scales_name
from grokpack.transforms.copies import Stack, Transposed
from grokpack.transforms.float_products import FloatProducts, FloatScales

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from grokpack.core.tensors import Shape
    from grokpack.transforms.protocols import LazyArray

_WEIGHT = ".weight"
_SCALES = ("weight_scale_inv", "weight_scale")
CODES = (DType.F8_E4M3, DType.F8_E5M2)
_SCALE_DTYPES = (DType.F32, DType.BF16, DType.F16, DType.F8_E8M0)
_USUAL = (128, 128)
_ACTIVATIONS = (
    *(".input_scale", ".input_scale_inv", ".input_global_scale", ".input_zero_point"),
    *(".activation_scale", ".output_scale", ".prob_scale", ".prob_output_scale"),
    *(".q_scale", ".k_scale", ".v_scale", ".kv_scale"),
    *(".q_zero_point", ".k_zero_point", ".v_zero_point"),
)


@dataclass(frozen=True, slots=True)
class FloatWeight:
    """Arrays of a weight in FP8, or of one expert of it.

    Attributes:
        codes: `[in, out]`.
        scales: Scales of blocks, `[in, out]`.
        codes_view: Makes the codes.
        scales_view: Makes the scales.
        block: Inputs and outputs of a block.
    """

    codes: ArraySpec
    scales: ArraySpec
    codes_view: LazyArray
    scales_view: LazyArray
    block: tuple[int, int]

    @property
    def kind(self) -> tuple[object, ...]:
        """Properties that all experts of a weight must share."""
        return self.codes, self.scales, self.block

    def stacked(self, others: list[FloatWeight]) -> FloatWeight:
        """Stack this expert, the first, with all others."""
        return replace(
            self,
            codes=replace(self.codes, shape=(len(others), *self.codes.shape)),
            scales=replace(self.scales, shape=(len(others), *self.scales.shape)),
            codes_view=Stack(tuple(one.codes_view for one in others)),
            scales_view=Stack(tuple(one.scales_view for one in others)),
        )

    def packing(self, name: str) -> FloatPacking:
        """Return how it is stored."""
        return FloatPacking(name, self.codes, self.scales, self.block)

    def tensor(self, name: str) -> TensorSpec:
        """Return the tensor that it decodes to."""
        return self.packing(name).tensor

    def views(self, name: str) -> dict[str, LazyArray]:
        """Return lazy arrays of it, by xAI's name."""
        dtypes = self.codes.dtype, self.scales.dtype
        products = FloatProducts(self.codes_view, self.scales_view, dtypes, self.block)
        return {name: products, scales_name(name): self.scales_view}


def is_of_activations(name: str) -> bool:
    """Return whether an array has static scales of activations, which no weight depends on."""
    return name.endswith(_ACTIVATIONS)


def unread(path: str, names: Collection[str]) -> list[Finding]:
    """Return a note on a file's scales of activations, if it has some."""
    found = [name for name in names if is_of_activations(name)]
    if not found:
        return []
    what = f"{len(found):,} scales of activations, which no weight needs: not read"
    return [Finding("GP102", what, path, found[0], severity="warning")]


def find(
    arrays: Mapping[str, ArraySpec], weight: str, block: tuple[int, int] | None = None
) -> FloatWeight | str | None:
    """Find out how a weight in FP8 is stored.

    Args:
        arrays: The folder's arrays.
        weight: `MODULE.weight`.
        block: Outputs and inputs of a block, by the folder's settings.

    Returns:
        Its form; a sentence if its arrays do not fit one another; None if it is not in FP8.
    """
    own = arrays.get(weight)
    if own is None or own.dtype not in CODES:
        return None
    base = weight.removesuffix(_WEIGHT)
    name = next((f"{base}.{end}" for end in _SCALES if f"{base}.{end}" in arrays), None)
    if name is None:
        return f"`{_SCALES[0]}` or `{_SCALES[1]}` of a weight in FP8 is missing"
    scales = arrays[name]
    if len(own.shape) != 2 or 0 in own.shape:  # noqa: PLR2004  # axes of a matrix
        return f"`weight` in FP8 has the shape {own.shape}"
    if scales.dtype not in _SCALE_DTYPES:
        return f"`{name.removeprefix(f'{base}.')}` of a weight in FP8 is {scales.dtype.label}"
    held = _block(own.shape, scales.shape, block or _USUAL)
    if held is None:
        return f"scales of shape {scales.shape} do not fit codes in FP8 of shape {own.shape}"
    outputs, inputs = own.shape
    blocks = -(-inputs // held[1]), -(-outputs // held[0])
    return FloatWeight(
        ArraySpec((inputs, outputs), own.dtype),
        ArraySpec(blocks, scales.dtype),
        Transposed(weight),
        FloatScales(name, len(scales.shape)),
        (held[1], held[0]),
    )


def _block(shape: Shape, scales: Shape, usual: tuple[int, int]) -> tuple[int, int] | None:
    """Return outputs and inputs of a block, by the shape of the scales; None if it does not fit."""
    outputs, inputs = shape
    if scales in ((), (1,), (1, 1)):
        return outputs, inputs
    if scales in ((outputs,), (outputs, 1)):
        return 1, inputs
    if scales == (-(-outputs // usual[0]), -(-inputs // usual[1])):
        return usual
    # joined from ranks, which have scales of their own for the inputs that they hold
    ranks = scales[1] if len(scales) == 2 and scales[0] == outputs else 0  # noqa: PLR2004
    return (1, inputs // ranks) if ranks and inputs % ranks == 0 else None
