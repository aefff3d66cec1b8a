"""Dimensions of a model from the shapes of its tensors, a few of which may be damaged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grokpack.models.architecture import Geometry, ModelTensor
from grokpack.models.family import Model

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from grokpack.core.tensors import TensorSpec
    from grokpack.models.family import Family


@dataclass(frozen=True, slots=True)
class Hints:
    """Values of a config.json that shapes may not show, all optional.

    Attributes:
        head_dim: Size of an attention head.
        layers: Number of decoder layers.
        scale_groups: Scale rows of row-parallel weights.
        dims: Other dimensions, which decide where the votes of shapes are equal.
    """

    head_dim: int | None = None
    q_heads: int | None = None
    kv_heads: int | None = None
    layers: int | None = None
    scale_groups: int | None = None
    dims: Mapping[str, int] = field(default_factory=dict)


def infer_layers(family: Family, indices: Collection[int]) -> int:
    """Infer the number of layers from the tensor indices that exist.

    A last layer with fewer than half of its files counts as stray files, not as a layer: one file
    too many must not read as eleven that are missing.
    """
    before, slots = len(family.global_rules), len(family.layer_rules)
    layers = family.layers_of(max(indices, default=-1) + 1)
    while layers > 0:
        first = before + (layers - 1) * slots
        present = sum(first <= i < first + slots for i in indices)
        if present * 2 >= slots:
            break
        layers -= 1
    return layers


def infer(
    family: Family, found: Mapping[int, TensorSpec], layers: int, hints: Hints
) -> Model | None:
    """Let the shapes vote on each dimension, and the config with them; None if one gets no vote.

    The width of the residual stream is settled first, because nearly every tensor shows it. A
    tensor that contradicts it (a file in another's place) has no vote on the rest.

    Args:
        family: The family of the tensors.
        found: Shapes by tensor index, in file order.
        layers: Number of decoder layers.
        hints: Values of a config.json.
    """
    voters = [(e, found[e.index]) for e in family.tensors(layers) if e.index in found]
    voters = [(e, t) for e, t in voters if len(t.values.shape) == len(e.rule.dims)]
    width = _majority(Counter(_named(e, t)["d_model"] for e, t in voters))
    votes: dict[str, Counter[int]] = {}
    for entry, tensor in voters:
        named = _named(entry, tensor)
        if named["d_model"] == width:
            for dim, size in named.items():
                votes.setdefault(dim, Counter())[size] += 1
    for dim, counts in votes.items():
        if hints.dims.get(dim) in counts:  # which alone outvotes no shape
            counts[hints.dims[dim]] += 1
    dims = {dim: _majority(counts) for dim, counts in votes.items()}
    needed = {dim for rule in family.rules for dim in rule.dims}
    if dims.keys() == needed - {"vocab"} and _is_release_without_embedding(family, dims):
        dims["vocab"] = family.release.vocab
    if dims.keys() != needed:
        return None
    stored = stored_groups([(e, t) for e, t in voters if _named(e, t)["d_model"] == width])
    head_dim = hints.head_dim or _by_heads(dims, hints)
    geometry = Geometry(**dims, layers=layers, head_dim=head_dim, scale_groups=stored)
    return _with_assumptions(Model(family, geometry), hints)


def _by_heads(dims: Mapping[str, int], hints: Hints) -> int | None:
    """Return the head size that both numbers of heads give; None where they give none."""
    if not hints.q_heads or not hints.kv_heads or dims["q_width"] % hints.q_heads:
        return None
    size = dims["q_width"] // hints.q_heads
    return size if size * hints.kv_heads == dims["kv_width"] else None


def _is_release_without_embedding(family: Family, dims: Mapping[str, int]) -> bool:
    """Return whether all dimensions are the release's, but the vocabulary, which is not known."""
    return all(getattr(family.release, dim) == n for dim, n in dims.items())


def _with_assumptions(model: Model, hints: Hints) -> Model:
    """Add the head size and the groups that shapes alone do not show."""
    release = model.family.release if model.is_release else None
    if model.geometry.head_dim is None and release:
        model = model.sized(head_dim=release.head_dim)
    groups = hints.scale_groups or (release.scale_groups if release else None)
    stored = model.geometry.scale_groups
    if groups and (stored is None or stored % groups == 0):
        model = model.sized(scale_groups=groups)
    return model


def stored_groups(tensors: list[tuple[ModelTensor, TensorSpec]]) -> int | None:
    """Return the scale rows of row-parallel weights in the files; None for one per weight row.

    It is the number that fits most tensors. Groups take precedence over rows, because a small
    tensor may have as many rows as others have groups.
    """
    rows = [
        (tensor.scales.shape[-2], tensor.values.shape[-2])
        for entry, tensor in tensors
        if entry.rule.cut == "rows" and tensor.scales and len(tensor.scales.shape) > 1
    ]
    fitting = Counter(groups for groups, _ in rows)
    groups, fit = fitting.most_common(1)[0] if rows else (0, 0)
    return groups if fit and fit >= sum(g == n for g, n in rows) else None


def _named(entry: ModelTensor, tensor: TensorSpec) -> dict[str, int]:
    return dict(zip(entry.rule.dims, tensor.values.shape, strict=True))


def _majority(votes: Counter[int]) -> int:
    return votes.most_common(1)[0][0] if votes else 0
