"""Packed weights, codes and scales: compressed-tensors, GPTQ, AWQ, w8a8-int8.

They are read as int8 codes with scales, like the release's, in the folder's own groups; 8 bits with
zero points as float32 products. Unsigned codes and zero points can be read as bytes as well. Codes
of four-bit floats are their levels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack.checkpoint.readers.packed_arrays import FP4, INT8, ORDERS, WEIGHT, is_awq, misfit
from grokpack.core.errors import UnsupportedLayout
from grokpack.core.tensors import (
    ArraySpec,
    DType,
    Packing,
    TensorSpec,
    codes_name,
    scales_name,
    zeros_name,
)
from grokpack.kernels.fp4_blocks import MX_BLOCK, NV_BLOCK
from grokpack.transforms.awq_views import AwqOctets, AwqZeros
from grokpack.transforms.copies import Copy, Stack, Transposed
from grokpack.transforms.float_products import FloatScales, UniformScales
from grokpack.transforms.fp4_views import DividedScales, Fp4CodeColumns, PowerScales
from grokpack.transforms.packed_views import (
    ColumnOctets,
    ColumnZeros,
    GroupOfEach,
    Products,
    RowOctets,
    RowZeros,
    SignedCodes,
    UnsignedCodes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from grokpack.transforms.protocols import LazyArray

_WORD_BITS = 32
_BITS = (4, 8)
_MOST_BITS = 8
_FOUR = 4
_PAIR = 2


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
        floats: Format of codes that are four-bit floats; None for integers.
        groups_apart: Number of groups whose inputs do not lie together; None if they do. Scales and
            zero points are then those of each input.
    """

    bits: int
    codes: ArraySpec
    scales: ArraySpec
    codes_view: LazyArray
    scales_view: LazyArray
    zeros_view: LazyArray | None = None
    symmetric: bool = False
    floats: str | None = None
    groups_apart: int | None = None

    @property
    def groups(self) -> int:
        """Number of groups of inputs that share a scale."""
        return self.groups_apart or self.scales.shape[-2]

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        per_row = 1 if self.codes.dtype is DType.I8 else 8 // self.bits
        return self.codes.shape[-2] * per_row

    @property
    def kind(self) -> tuple[object, ...]:
        """Properties that all experts of a weight must share."""
        return self.bits, self.codes, self.scales, self.zeros_view is None, self.floats

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


def find(
    arrays: Mapping[str, ArraySpec],
    weight: str,
    numbers: Callable[[str], tuple[int, ...]],
    *,
    symmetric: bool = False,
    orders: Container[str] = (),
) -> PackedWeight | str | None:
    """Find out how a weight is packed.

    Args:
        arrays: The folder's arrays.
        weight: `MODULE.weight`.
        numbers: Reads a short array of integers.
        symmetric: True if zero points must be in the middle; see `PackingSettings`.
        orders: Arrays that give each input its group, where that is not known from its place.

    Returns:
        Its packed form; a sentence if its arrays do not fit one another; None if it is not packed.
    """
    base = weight.removesuffix(WEIGHT)
    order = next((name for end in ORDERS if (name := base + end) in orders), None)
    packed, words = (arrays.get(f"{base}.{name}") for name in ("weight_packed", "qweight"))
    made: PackedWeight | str | None = None
    if packed is not None and packed.dtype is DType.U8:
        made = _floats(arrays, base, "weight_packed")
    elif packed is not None:
        parts = ["weight_packed", "weight_scale", "weight_shape"]
        parts += ["weight_g_idx"] if f"{base}.weight_g_idx" in arrays else []
        made = misfit(arrays, base, parts) or _rows(arrays, base, numbers)
    elif words is not None and is_awq(arrays, base):
        made = misfit(arrays, base, ["qweight", "scales", "qzeros"]) or _awq(arrays, base)
    elif words is not None:
        parts = ["qweight", "scales", "qzeros", "g_idx"]
        made = misfit(arrays, base, parts) or _columns(arrays, base, symmetric=symmetric)
    elif weight in arrays and arrays[weight].dtype is DType.U8:
        made = _floats(arrays, base, "weight")
    elif weight in arrays and arrays[weight].dtype is DType.I8:
        made = misfit(arrays, base, ["weight", "weight_scale"], INT8) or _outputs(arrays, base)
    return made if order is None or not isinstance(made, PackedWeight) else _unordered(made, order)


def _unordered(made: PackedWeight, order: str) -> PackedWeight:
    """Give each input the scale and the zero point of its group."""
    groups = made.scales.shape[-2]

    def of_each(view: LazyArray) -> LazyArray:
        return GroupOfEach(view, order, groups)

    return replace(
        made,
        scales=replace(made.scales, shape=(made.inputs, made.scales.shape[-1])),
        scales_view=of_each(made.scales_view),
        zeros_view=None if made.zeros_view is None else of_each(made.zeros_view),
        groups_apart=groups,
    )


def _rows(
    arrays: Mapping[str, ArraySpec], base: str, numbers: Callable[[str], tuple[int, ...]]
) -> PackedWeight | str:
    """Read compressed-tensors: codes `[out, word]`, scales `[out, group]`."""
    outputs, words = arrays[f"{base}.weight_packed"].shape
    scale = arrays[f"{base}.weight_scale"]
    shape = numbers(f"{base}.weight_shape")
    groups = scale.shape[1]
    inputs = shape[1] if len(shape) == _PAIR and shape[0] == outputs else 0
    bits = _bits(words, inputs, base)
    if not bits or scale.shape[0] != outputs or inputs % groups:
        return "packed codes, scales and shape do not fit one another"
    order = arrays.get(f"{base}.weight_g_idx")
    if order is not None and order.shape != (inputs,):
        return f"`weight_g_idx` of {inputs} inputs has the shape {order.shape}"
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
    bits = _bits(words, inputs, base)
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


def _bits(words: int, inputs: int, base: str) -> int:
    """Return the bits of a code by the words that inputs take; 0 if they do not fit.

    Raises:
        UnsupportedLayout: GP208 for codes of other bits than are read.
    """
    bits, rest = divmod(words * _WORD_BITS, inputs) if inputs else (0, 0)
    if not rest and 0 < bits < _MOST_BITS and bits not in _BITS:
        listed = " and ".join(map(str, _BITS))
        what = f"packed codes of {bits} bits are not read: those of {listed} bits are"
        raise UnsupportedLayout(what, None, (("weight", base),))
    return 0 if rest or bits not in _BITS else bits


def _awq(arrays: Mapping[str, ArraySpec], base: str) -> PackedWeight | str:
    """Read AWQ: codes `[in, word]`, scales and zero points `[group, out]`."""
    inputs, words = arrays[f"{base}.qweight"].shape
    scale, outputs = arrays[f"{base}.scales"], words * _WORD_BITS // _FOUR
    groups = scale.shape[0]
    if scale.shape[1] != outputs or inputs % groups or inputs % _PAIR:
        return "packed codes and scales do not fit one another"
    if arrays[f"{base}.qzeros"].shape != (groups, words):
        return "zero points do not fit the scales"
    return PackedWeight(
        _FOUR,
        ArraySpec((inputs // _PAIR, outputs), DType.U8),
        ArraySpec((groups, outputs), scale.dtype),
        AwqOctets(f"{base}.qweight"),
        Copy(f"{base}.scales"),
        AwqZeros(f"{base}.qzeros"),
    )


def _floats(arrays: Mapping[str, ArraySpec], base: str, codes: str) -> PackedWeight | str:
    """Read four-bit floats: codes `[out, in / 2]` of E2M1, scales `[out, group]`.

    Scales are powers of two in MXFP4, and in NVFP4 numbers of E4M3 with one for the whole matrix,
    which compressed-tensors divides by and ModelOpt multiplies with.
    """
    scales = f"{base}.weight_scale"
    micro = scales in arrays and arrays[scales].dtype is DType.U8
    whole = "weight_scale_2" if codes == "weight" else "weight_global_scale"
    wrong = misfit(arrays, base, [codes, "weight_scale", *([] if micro else [whole])], FP4)
    if wrong is not None:
        return wrong
    outputs, pairs = arrays[f"{base}.{codes}"].shape
    inputs, block = 2 * pairs, MX_BLOCK if micro else NV_BLOCK
    if arrays[scales].shape != (outputs, inputs // block) or inputs % block:
        return "packed codes and scales do not fit one another"
    view: LazyArray = PowerScales(scales)
    if not micro:
        axes = len(arrays[f"{base}.{whole}"].shape)
        view = DividedScales(scales, f"{base}.{whole}", codes != "weight", axes)
    return PackedWeight(
        _FOUR,
        ArraySpec((inputs, outputs), DType.I8),
        ArraySpec((inputs // block, outputs), DType.BF16 if micro else DType.F32),
        Fp4CodeColumns(f"{base}.{codes}"),
        view,
        floats="mxfp4" if micro else "nvfp4",
    )


def _outputs(arrays: Mapping[str, ArraySpec], base: str) -> PackedWeight | str:
    """Read int8: codes `[out, in]`, scales `[out, group]`, `[out]`, or one of them all.

    Groups of w8a8-int8 are those of the ranks.
    """
    outputs, inputs = arrays[f"{base}{WEIGHT}"].shape
    name = f"{base}.weight_scale"
    scale, axes = arrays[name], len(arrays[name].shape)
    groups = scale.shape[1] if axes == _PAIR and outputs == scale.shape[0] else 1
    view: LazyArray = Transposed(name)
    if scale.elements == 1 and outputs > 1:
        view = UniformScales(name, axes)
    elif scale.shape == (outputs,):
        view = FloatScales(name, axes)
    elif axes != _PAIR or scale.shape[0] != outputs or inputs % groups:
        return "codes and scales do not fit one another"
    return PackedWeight(
        8,
        ArraySpec((inputs, outputs), DType.I8),
        ArraySpec((groups, outputs), scale.dtype),
        Transposed(f"{base}{WEIGHT}"),
        view,
    )
