"""Arrays of packed weights: their names, and what their shapes and dtypes must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.tensors import ArraySpec, DType

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

WEIGHT = ".weight"
PARTS = (
    ".weight_packed",
    ".weight_scale",
    ".weight_global_scale",
    ".weight_scale_2",
    ".weight_scale_inv",
    ".weight_zero_point",
    ".weight_shape",
    ".qweight",
    ".qzeros",
    ".scales",
    ".g_idx",
    ".weight_g_idx",
)
"""Endings of the arrays of a packed weight, after the module's name."""

INTEGERS = (DType.I32, DType.I64)
"""Dtypes of arrays that give each input its group."""
ORDERS = (".g_idx", ".weight_g_idx")
"""Endings of those that give each input its group."""
READ_AHEAD = (".weight_shape", *ORDERS)
"""Endings of arrays whose values are checked with the headers, and perhaps never read again."""


def weight_of(name: str) -> str:
    """Return the weight that an array belongs to; the name itself if it is no part of one."""
    if not name.endswith(PARTS):
        return name
    ending = next(ending for ending in PARTS if name.endswith(ending))
    return name.removesuffix(ending) + WEIGHT


def has_words(arrays: Container[str], weight: str) -> bool:
    """Return whether a weight has packed words beside what may lie there under its own name."""
    base = weight.removesuffix(WEIGHT)
    return f"{base}.weight_packed" in arrays or f"{base}.qweight" in arrays


def is_awq(arrays: Mapping[str, ArraySpec], base: str) -> bool:
    """Return whether the words of a module are packed along its outputs, as AWQ does."""
    scales, words = arrays.get(f"{base}.scales"), arrays.get(f"{base}.qweight")
    if scales is None or words is None or f"{base}.g_idx" in arrays:
        return False
    return scales.shape[-1:] != words.shape[-1:]


_AXES = {
    "weight_shape": (1,),
    "g_idx": (1,),
    "weight_g_idx": (1,),
    "weight_global_scale": (0, 1),
    "weight_scale_2": (0, 1),
}
"""Numbers of axes; all others have two."""
_ONE = ("weight_global_scale", "weight_scale_2")  # arrays of one number
_WORDS = (DType.I32,)
_STEPS = (DType.BF16, DType.F16, DType.F32)
_PARTS = {
    "weight_packed": _WORDS,
    "qweight": _WORDS,
    "qzeros": _WORDS,
    "g_idx": INTEGERS,
    "weight_g_idx": INTEGERS,
    "weight_zero_point": _WORDS,
    "weight_scale": _STEPS,
    "scales": _STEPS,
}
"""Dtypes of the arrays of a packed weight."""
FP4 = {
    "weight_scale": (DType.U8, DType.F8_E4M3),
    "weight_global_scale": (DType.F32,),
    "weight_scale_2": (DType.F32,),
}
"""Dtypes of the arrays of four-bit floats, which are known by that of their codes."""
INT8 = {"weight_scale": _STEPS}
"""Likewise of int8; their scales may have fewer axes."""


def misfit(
    arrays: Mapping[str, ArraySpec],
    base: str,
    names: list[str],
    dtypes: Mapping[str, tuple[DType, ...]] = _PARTS,
) -> str | None:
    """Describe what is wrong with the arrays of a weight, each on its own."""
    for name in names:
        spec = arrays.get(f"{base}.{name}")
        if spec is None:
            return f"`{name}` of a packed weight is missing"
        alone = name not in _ONE or spec.elements == 1
        usual = (0, 1, 2) if dtypes is INT8 and name in INT8 else (2,)
        if len(spec.shape) not in _AXES.get(name, usual) or 0 in spec.shape or not alone:
            return f"`{name}` of a packed weight has the shape {spec.shape}"
        if spec.dtype not in dtypes.get(name, (spec.dtype,)):
            return f"`{name}` of a packed weight is {spec.dtype.label}"
    return None
