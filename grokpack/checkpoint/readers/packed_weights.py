"""Packed weights, codes and scales: compressed-tensors, GPTQ, w8a8-int8.

They are read as int8 codes with scales, like the release's, in the folder's own groups; 8 bits with
zero points as float32 products. Unsigned codes and zero points can be read as bytes as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack.core.tensors import (
    ArraySpec,
    DType,
    Packing,
    TensorSpec,
    codes_name,
    scales_name,
    zeros_name,
)
from grokpack.transforms.copies import Copy, Stack, Transposed
from grokpack.transforms.packed_views import (
    ColumnOctets,
    ColumnZeros,
    Products,
    RowOctets,
    RowZeros,
    SignedCodes,
    UnsignedCodes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grokpack.transforms.protocols import LazyArray

_WEIGHT = ".weight"
_WORD_BITS = 32
_BITS = (4, 8)
_PAIR = 2
PARTS = (
    ".weight_packed",
    ".weight_scale",
    ".weight_zero_point",
    ".weight_shape",
    ".qweight",
    ".qzeros",
    ".scales",
    ".g_idx",
    ".weight_g_idx",
)
"""Endings of the arrays of a packed weight, after the module's name."""


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """Packed arrays of a weight, or of one expert of it.

    Attributes:
        bits: Bits of a code.
        codes: Unsigned codes `u8[in * bits / 8, out]`, or signed ones `i8[in, out]`.
        scales: `[group, out]`.
        codes_view: Makes the codes.
        scales_view: Makes the scales.
        zeros_view: Makes zero points `u8[group, out]`; None where all are in the middle.
        symmetric: True if zero points, if there are any, must be in the middle.
    """

    bits: int
    codes: ArraySpec
    scales: ArraySpec
    codes_view: LazyArray
    scales_view: LazyArray
    zeros_view: LazyArray | None = None
    symmetric: bool = False

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return self.codes.shape[-2] * (DType.I8.itemsize * 8 // self.bits)

    @property
    def kind(self) -> tuple[object, ...]:
        """Properties that all experts of a weight must share."""
        return self.bits, self.codes, self.scales, self.zeros_view is None

    def stacked(self, others: list[PackedWeight]) -> PackedWeight:
        """Stack this expert, the first, with all others."""

        def all_of(name: str) -> Any:  # noqa: ANN401  # a view, or None
            views = tuple(getattr(one, name) for one in others)
            return None if views[0] is None else Stack(views)

        lead = (len(others),)
        return replace(
            self,
            codes=ArraySpec((*lead, *self.codes.shape), self.codes.dtype),
            scales=ArraySpec((*lead, *self.scales.shape), self.scales.dtype),
            **{name: all_of(name) for name in ("codes_view", "scales_view", "zeros_view")},
        )

    def packing(self, name: str) -> Packing | None:
        """Return how it is stored as unsigned codes; None if that equals int8 codes."""
        middle = self.zeros_view is None or self.symmetric
        if self.codes.dtype is DType.I8 or (middle and self.bits == DType.I8.itemsize * 8):
            return None
        zeros = None if self.zeros_view is None else replace(self.scales, dtype=DType.U8)
        return Packing(name, self.bits, self.codes, self.scales, zeros, self.symmetric)

    def tensor(self, name: str) -> TensorSpec:
        """Return the tensor that it decodes to."""
        packing = self.packing(name)
        if packing is not None:
            return packing.tensor
        return TensorSpec(name, ArraySpec(self.codes.shape, DType.I8), self.scales)

    def views(self, name: str) -> dict[str, LazyArray]:
        """Return lazy arrays of it, by xAI's name."""
        scales = {scales_name(name): self.scales_view}
        if self.codes.dtype is DType.I8:
            return {name: self.codes_view, **scales}
        packing = self.packing(name)
        per_group = self.tensor(name).values.shape[-2] // self.scales.shape[-2]
        unsigned = UnsignedCodes(self.codes_view, self.zeros_view, self.bits, per_group)
        if packing is None:
            return {name: SignedCodes(unsigned), **scales}
        stored = {codes_name(name): self.codes_view, **scales}
        if self.zeros_view is not None:
            stored[zeros_name(name)] = self.zeros_view
        return {name: values_of(packing, unsigned, self.scales_view), **stored}


def values_of(packing: Packing, unsigned: UnsignedCodes, scales: LazyArray) -> LazyArray:
    """Return the lazy array of a packed weight's values."""
    return (
        SignedCodes(unsigned)
        if packing.centred
        else Products(unsigned, scales, packing.scales.dtype)
    )


def weight_of(name: str) -> str:
    """Return the weight that an array belongs to; the name itself if it is no part of one."""
    if not name.endswith(PARTS):
        return name
    ending = next(ending for ending in PARTS if name.endswith(ending))
    return name.removesuffix(ending) + _WEIGHT


def find(
    arrays: Mapping[str, ArraySpec],
    weight: str,
    numbers: Callable[[str], tuple[int, ...]],
    *,
    symmetric: bool = False,
) -> PackedWeight | str | None:
    """Find out how a weight is packed.

    Args:
        arrays: The folder's arrays.
        weight: `MODULE.weight`.
        numbers: Reads a short array of integers.
        symmetric: True if zero points must be in the middle; see `PackingSettings`.

    Returns:
        Its packed form; a sentence if its arrays do not fit one another; None if it is not packed.
    """
    base = weight.removesuffix(_WEIGHT)
    if f"{base}.weight_packed" in arrays:
        parts = ["weight_packed", "weight_scale", "weight_shape"]
        return _of_matrices(arrays, base, parts) or _rows(arrays, base, numbers)
    if f"{base}.qweight" in arrays:
        parts = ["qweight", "scales", "qzeros", "g_idx"]
        return _of_matrices(arrays, base, parts) or _columns(arrays, base, symmetric=symmetric)
    own = arrays.get(weight)
    if own is not None and own.dtype is DType.I8:
        return _of_matrices(arrays, base, ["weight", "weight_scale"]) or _outputs(arrays, base)
    return None


_AXES = {"weight_shape": 1, "g_idx": 1}  # all others have two
_WORDS = ("weight_packed", "qweight", "qzeros", "weight_zero_point")
_STEPS = ("weight_scale", "scales")
_FLOATS = (DType.BF16, DType.F16, DType.F32)


def _of_matrices(arrays: Mapping[str, ArraySpec], base: str, names: list[str]) -> str | None:
    """Describe what is wrong with the arrays of a weight, each on its own."""
    for name in names:
        spec = arrays.get(f"{base}.{name}")
        if spec is None:
            return f"`{name}` of a packed weight is missing"
        if len(spec.shape) != _AXES.get(name, 2) or 0 in spec.shape:
            return f"`{name}` of a packed weight has the shape {spec.shape}"
        wrong = (name in _WORDS and spec.dtype is not DType.I32) or (
            name in _STEPS and spec.dtype not in _FLOATS
        )
        if wrong:
            return f"`{name}` of a packed weight is {spec.dtype.label}"
    return None


def _rows(
    arrays: Mapping[str, ArraySpec], base: str, numbers: Callable[[str], tuple[int, ...]]
) -> PackedWeight | str:
    """Read compressed-tensors: codes `[out, word]`, scales `[out, group]`."""
    outputs, words = arrays[f"{base}.weight_packed"].shape
    scale = arrays[f"{base}.weight_scale"]
    shape = numbers(f"{base}.weight_shape")
    groups = scale.shape[1]
    inputs = shape[1] if len(shape) == _PAIR and shape[0] == outputs else 0
    bits = next((b for b in _BITS if inputs * b == words * _WORD_BITS), 0)
    if not bits or scale.shape[0] != outputs or inputs % groups:
        return "packed codes, scales and shape do not fit one another"
    zeros = f"{base}.weight_zero_point"
    if zeros in arrays:
        wanted = ArraySpec((-(-outputs * bits // _WORD_BITS), groups), DType.I32)
        if arrays[zeros] != wanted:
            return "zero points are read where there is one for each group, packed as codes are"
    return PackedWeight(
        bits,
        ArraySpec((inputs * bits // 8, outputs), DType.U8),
        ArraySpec((groups, outputs), scale.dtype),
        RowOctets(f"{base}.weight_packed"),
        Transposed(f"{base}.weight_scale"),
        RowZeros(zeros, bits) if zeros in arrays else None,
    )


def _columns(arrays: Mapping[str, ArraySpec], base: str, *, symmetric: bool) -> PackedWeight | str:
    """Read GPTQ: codes `[word, out]`, scales `[group, out]`, inputs in their order."""
    words, outputs = arrays[f"{base}.qweight"].shape
    scale, (inputs,) = arrays[f"{base}.scales"], arrays[f"{base}.g_idx"].shape
    groups = scale.shape[0]
    bits = next((b for b in _BITS if inputs * b == words * _WORD_BITS), 0)
    if not bits or scale.shape[1] != outputs or inputs % groups:
        return "packed codes, scales and groups do not fit one another"
    if arrays[f"{base}.qzeros"].shape != (groups, outputs * bits // _WORD_BITS):
        return "zero points do not fit the scales"
    return PackedWeight(
        bits,
        ArraySpec((inputs * bits // 8, outputs), DType.U8),
        ArraySpec((groups, outputs), scale.dtype),
        ColumnOctets(f"{base}.qweight"),
        Copy(f"{base}.scales"),
        ColumnZeros(f"{base}.qzeros", bits),
        symmetric,
    )


def _outputs(arrays: Mapping[str, ArraySpec], base: str) -> PackedWeight | str:
    """Read w8a8-int8: codes `[out, in]`, scales `[out, group]`; groups are those of the ranks."""
    outputs, inputs = arrays[f"{base}{_WEIGHT}"].shape
    scale = arrays[f"{base}.weight_scale"]
    if scale.shape[0] != outputs or inputs % scale.shape[1]:
        return "codes and scales do not fit one another"
    return PackedWeight(
        8,
        ArraySpec((inputs, outputs), DType.I8),
        ArraySpec((scale.shape[1], outputs), scale.dtype),
        Transposed(f"{base}{_WEIGHT}"),
        Transposed(f"{base}.weight_scale"),
    )
