"""Tensor-parallel partition: the axis along which each tensor is cut, and its shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box, slice_box
from grokpack.core.tensors import ArraySpec, scales_name, zeros_name

if TYPE_CHECKING:
    from grokpack.models.architecture import Geometry, ModelTensor, TensorRule

PartitionStyle = Literal["engines", "jax"]
"""Partition as engines cut a model, or as xAI's JAX code does."""

Cutter = Literal[PartitionStyle, "sglang"]
"""Who cuts: a partition's style, or SGLang, for which files hold all but the experts whole."""


def shares(
    geometry: Geometry,
    entry: ModelTensor,
    arrays: dict[str, ArraySpec],
    ranks: int,
    style: PartitionStyle,
) -> dict[str, tuple[Box, ...] | None]:
    """Return the region of each of a tensor's arrays that each of `ranks` holds.

    Returns:
        One box per rank by array name, or None for an array that every rank holds whole. A rank may
        share its box with others: engines hold whole key/value heads, and those and the scale
        groups are fewer than 16. xAI's code cuts keys and values by columns, even within heads:
        jax assembles the whole from what the hosts hold.
    """
    whole_heads = style == "engines"
    held: dict[str, tuple[Box, ...] | None] = {}
    for name, array in arrays.items():
        axis = cut_axis(entry.rule, style)
        if axis is None:
            held[name] = None
            continue
        count = ranks
        grouped = name in (scales_name(entry.name), zeros_name(entry.name))
        if grouped and entry.rule.cut == "rows":
            count = min(ranks, array.shape[-2])
        elif whole_heads and entry.rule.dims[axis] == "kv_width" and geometry.kv_heads:
            count = min(ranks, geometry.kv_heads)
        held[name] = tuple(
            slice_box(array.shape, axis, r * count // ranks, count) for r in range(ranks)
        )
    return held


def cut_axis(rule: TensorRule, style: PartitionStyle) -> int | None:
    """Return the axis that ranks cut, counted from the end; None if every rank holds all."""
    if rule.cut == "features":
        return -2 if style == "engines" else -1
    return {"columns": -1, "rows": -2, "none": None}[rule.cut]


def remainders(geometry: Geometry, ranks: int, cutter: Cutter = "engines") -> list[str]:
    """Explain why the model cannot be cut into `ranks` equal parts; empty if it can.

    Engines cut the embedding by rows and use the scale groups as they are. xAI's code cuts the
    embedding by features, and accepts a scale row per weight row. SGLang takes the embedding whole
    and pads it for its ranks, and weights without scales: neither leaves a remainder there.

    Raises:
        ValueError: The head size is not known.
    """
    if geometry.q_heads is None or geometry.kv_heads is None:
        message = "the head size is not known"
        raise ValueError(message)
    kv, groups = geometry.kv_heads, geometry.scale_groups
    checks = [
        (geometry.q_heads % ranks, f"{geometry.q_heads} query heads"),
        (kv % ranks and ranks % kv, f"{kv} key-value heads"),
        (geometry.ffn % ranks, f"expert width {geometry.ffn}"),
        ((geometry.mlp or 0) % ranks, f"width {geometry.mlp} of the dense MLP"),
    ]
    if cutter == "engines":
        checks.append((geometry.vocab % ranks, f"vocabulary {geometry.vocab}"))
        if groups is not None:  # with a scale for each row, the expert's width decides
            checks.append((groups % ranks and ranks % groups, f"{groups} scale groups"))
    elif cutter == "jax":
        checks.append((geometry.d_model % ranks, f"{geometry.d_model} features of the embedding"))
    return [f"{what} / {ranks}" for rest, what in checks if rest]


WIDEST = 64  # most ranks that `legal_widths` tries: no release can be cut into more


def legal_widths(geometry: Geometry, cutter: Cutter = "engines") -> list[int]:
    """Return the numbers of ranks that the model can be cut into."""
    return [n for n in range(1, WIDEST + 1) if not remainders(geometry, n, cutter)]


def refuse_width(geometry: Geometry, tp: int, cutter: Cutter = "engines") -> None:
    """Refuse a width that the model cannot be cut into.

    Raises:
        GrokpackError: GP301 with the remainders, and the widths that leave none.
    """
    wrong = remainders(geometry, tp, cutter) if tp > 0 else []
    if wrong or tp < 1:
        legal = ", ".join(map(str, legal_widths(geometry, cutter)))
        facts = tuple(("remainder", text) for text in wrong)
        raise GrokpackError(
            "GP301", f"the model cannot be cut into {tp} equal ranks", None, facts, f"--tp {legal}"
        )
