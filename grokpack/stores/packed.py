"""Weights that a folder holds as packed codes and scales: compressed-tensors, GPTQ, w8a8-int8.

They are read as int8 codes with scales, as the release's are, whose groups are those that the
folder has: nothing is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack.errors import GrokpackError, Place
from grokpack.ops.packed import ColumnCodes, RowCodes
from grokpack.ops.views import Renamed, Turned
from grokpack.tensor import ArraySpec, DType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grokpack.ops import View

_WEIGHT = ".weight"
_WORD_BITS = 32
_BITS = (4, 8)
_FOUR = 4
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
)
"""What the arrays of a packed weight are called behind the module's name."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed matrix, read as codes and scales.

    Attributes:
        bits: Of a code.
        codes: `int8[in, out]`.
        scales: `[group, out]`.
        codes_view: Makes the codes.
        scales_view: Makes the scales.
    """

    bits: int
    codes: ArraySpec
    scales: ArraySpec
    codes_view: View
    scales_view: View


def weight_of(name: str) -> str:
    """The weight that an array is of, or a part of; the name itself where it is no part."""
    for ending in PARTS:
        if name.endswith(ending):
            return name.removesuffix(ending) + _WEIGHT
    return name


def refuse_variants(settings: Mapping[str, Any], path: str) -> None:
    """See that packed weights mean what this module takes them to mean.

    Args:
        settings: The folder's config.json.
        path: Where that lies.

    Raises:
        GrokpackError: GP208 for GPTQ with inputs in another order, or with zero points as they are.
    """
    how = settings.get("quantization_config")
    if not isinstance(how, dict) or how.get("quant_method") != "gptq":
        return
    facts = tuple((key, str(how.get(key))) for key in ("desc_act", "checkpoint_format"))
    if how.get("desc_act"):
        what = "GPTQ weights whose inputs stand in another order (desc_act) are not read"
        raise GrokpackError("GP208", what, Place(path), facts)
    if how.get("checkpoint_format", "gptq") != "gptq":
        what = "GPTQ weights are read in the first form only, whose zero points are less one"
        raise GrokpackError("GP208", what, Place(path), facts)


def find(
    arrays: Mapping[str, ArraySpec], weight: str, numbers: Callable[[str], tuple[int, ...]]
) -> Packed | str | None:
    """How a weight is packed.

    Args:
        arrays: What the folder holds.
        weight: `MODULE.weight`.
        numbers: Reads a short array of integers.

    Returns:
        How to read it; a sentence where its arrays do not fit one another; None where it is not
        packed.
    """
    base = weight.removesuffix(_WEIGHT)
    if f"{base}.weight_packed" in arrays:
        parts = ["weight_packed", "weight_scale", "weight_shape"]
        return _of_matrices(arrays, base, parts) or _rows(arrays, base, numbers)
    if f"{base}.qweight" in arrays:
        parts = ["qweight", "scales", "qzeros", "g_idx"]
        return _of_matrices(arrays, base, parts) or _columns(arrays, base)
    own = arrays.get(weight)
    if own is not None and own.dtype is DType.I8:
        return _of_matrices(arrays, base, ["weight", "weight_scale"]) or _outputs(arrays, base)
    return None


_AXES = {"weight_shape": 1, "g_idx": 1}  # all others have two


def _of_matrices(arrays: Mapping[str, ArraySpec], base: str, names: list[str]) -> str | None:
    """What is wrong with the arrays of a weight as such."""
    for name in names:
        spec = arrays.get(f"{base}.{name}")
        if spec is None:
            return f"`{name}` of a packed weight is missing"
        if len(spec.shape) != _AXES.get(name, 2) or 0 in spec.shape:
            return f"`{name}` of a packed weight has the shape {spec.shape}"
    return None


def _rows(
    arrays: Mapping[str, ArraySpec], base: str, numbers: Callable[[str], tuple[int, ...]]
) -> Packed | str:
    """compressed-tensors: codes `[out, word]`, scales `[out, group]`."""
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
        wanted = (-(-outputs * bits // _WORD_BITS), groups)
        if bits != _FOUR or arrays[zeros].shape != wanted:
            return "zero points are read for 4 bits only, and one for each group"
    view = RowCodes(
        f"{base}.weight_packed", zeros if zeros in arrays else None, bits, inputs // groups
    )
    return Packed(
        bits,
        ArraySpec((inputs, outputs), DType.I8),
        ArraySpec((groups, outputs), scale.dtype),
        view,
        Turned(f"{base}.weight_scale"),
    )


def _columns(arrays: Mapping[str, ArraySpec], base: str) -> Packed | str:
    """GPTQ: codes `[word, out]`, scales `[group, out]`, inputs in their order."""
    words, outputs = arrays[f"{base}.qweight"].shape
    scale, (inputs,) = arrays[f"{base}.scales"], arrays[f"{base}.g_idx"].shape
    groups = scale.shape[0]
    bits = next((b for b in _BITS if inputs * b == words * _WORD_BITS), 0)
    if not bits or scale.shape[1] != outputs or inputs % groups:
        return "packed codes, scales and groups do not fit one another"
    if arrays[f"{base}.qzeros"].shape != (groups, outputs * bits // _WORD_BITS):
        return "zero points do not fit the scales"
    view = ColumnCodes(f"{base}.qweight", f"{base}.qzeros", bits, inputs // groups)
    return Packed(
        bits,
        ArraySpec((inputs, outputs), DType.I8),
        ArraySpec((groups, outputs), scale.dtype),
        view,
        Renamed(f"{base}.scales"),
    )


def _outputs(arrays: Mapping[str, ArraySpec], base: str) -> Packed | str:
    """w8a8-int8: codes `[out, in]`, scales `[out, group]`; groups are those of the ranks."""
    outputs, inputs = arrays[f"{base}{_WEIGHT}"].shape
    scale = arrays[f"{base}.weight_scale"]
    if scale.shape[0] != outputs or inputs % scale.shape[1]:
        return "codes and scales do not fit one another"
    return Packed(
        8,
        ArraySpec((inputs, outputs), DType.I8),
        ArraySpec((scale.shape[1], outputs), scale.dtype),
        Turned(f"{base}{_WEIGHT}"),
        Turned(f"{base}.weight_scale"),
    )
