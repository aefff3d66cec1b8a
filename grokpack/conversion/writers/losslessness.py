"""Losslessness of a conversion, judged by its ops and a few values before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.conversion.writers.exactness_checks import exact_in_bf16
from grokpack.core.tensors import DType
from grokpack.transforms.dequantize import Cast, Dequantize, EngineMatrix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.models.architecture import TensorRule
    from grokpack.transforms.protocols import Op

_HOLDS = {
    DType.F32: {DType.F32, DType.BF16, DType.F16},
    DType.BF16: {DType.BF16},
    DType.F16: {DType.F16},
}
"""Dtypes that hold every value of a dtype."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Changes of a source's values by a conversion.

    Attributes:
        lossless: True if every value, code and scale of the source can be recovered.
        notes: A sentence for each loss.
    """

    lossless: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Loss:
    """One kind of loss: of what, from which form, to which."""

    what: str  # `products`, `weights` or `embedding`
    source: DType
    dtype: DType


def judge(source: Checkpoint, made: Mapping[str, Op]) -> Fidelity:
    """Judge what the ops of a target preserve of the source."""
    rules = {e.name: e.rule for e in source.model.tensors()}
    products = {n for n, packing in source.packings.items() if not packing.centred}
    products |= source.float_packings.keys()
    narrowed = {name for op in made.values() if (name := _narrowed(op)) is not None}
    small = [name for name in sorted(narrowed) if rules[name].role in ("norm", "router")]
    exact = exact_in_bf16(source, small)
    losses = dict.fromkeys(
        loss
        for op in made.values()
        if _narrowed(op) not in exact
        for loss in _losses(op, rules, products)
    )
    if _Loss("products", DType.I8, DType.BF16) in losses:  # those are all of them
        losses.pop(_Loss("row-parallel products", DType.I8, DType.BF16), None)
    return Fidelity(not losses, tuple(_sentences(list(losses))))


def _narrowed(op: Op) -> str | None:
    """Return the tensor whose float32 values an op writes as bfloat16; None if it does not."""
    if isinstance(op, EngineMatrix):
        name, kinds = op.tensor.name, (op.tensor.values.dtype, op.dtype)
    elif isinstance(op, Cast):
        name, kinds = op.array, (op.source, op.dtype)
    else:
        return None
    return name if kinds == (DType.F32, DType.BF16) else None


def _losses(op: Op, rules: Mapping[str, TensorRule], products: set[str]) -> Iterator[_Loss]:
    """Yield the losses of an op; `products` are weights read as codes times scales."""
    if isinstance(op, Dequantize):
        rule = rules.get(op.tensor.name)
        some = "row-parallel " if rule is None or rule.cut == "rows" else ""
        yield _Loss(f"{some}products", DType.I8, DType.BF16)
    elif isinstance(op, EngineMatrix):
        kind = op.tensor.values.dtype
        if kind is DType.I8 or op.tensor.name in products:
            yield _Loss("products", DType.I8, op.dtype)
        elif kind not in _HOLDS[op.dtype]:
            yield _Loss("weights", kind, op.dtype)
    elif isinstance(op, Cast) and op.array in products:
        yield _Loss("products", DType.I8, op.dtype)
    elif isinstance(op, Cast) and op.source not in _HOLDS[op.dtype]:
        rule = rules.get(op.array)
        embedding = rule is not None and rule.by_token
        yield _Loss("embedding" if embedding else "weights", op.source, op.dtype)


def _sentences(losses: list[_Loss]) -> Iterator[str]:
    for loss in losses:
        if loss.source is DType.I8 and loss.dtype is DType.F32:
            yield (
                "products of codes and scales are exact in f32, but the codes themselves are not "
                "kept: not lossless"
            )
            continue
        subject = "the embedding is" if loss.what == "embedding" else f"{loss.what} are"
        origin = "" if loss.source is DType.I8 else f" from {loss.source.label}"
        aside = ""
        if loss.dtype is not DType.F16 and loss.what != "weights":
            aside = ", as xAI's code does"
        yield f"{subject} rounded once{origin} to {loss.dtype.label}{aside}: not lossless"
