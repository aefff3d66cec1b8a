"""Plans of `grokpack synth`: synthetic checkpoints of any size in the release's format."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from grokpack.conversion import synthetic_release
from grokpack.conversion.synthetic_weights import SyntheticWeights
from grokpack.core.errors import GrokpackError, UnusableValue
from grokpack.core.tensors import DType
from grokpack.models.architecture import Geometry
from grokpack.models.family import Model
from grokpack.models.grok1 import GROK1
from grokpack.models.grok2 import GROK2
from grokpack.planning.plan import Plan

if TYPE_CHECKING:
    from grokpack.models.family import Family

PRESETS = {
    "tiny": Geometry(
        vocab=1024,
        d_model=128,
        layers=3,
        experts=8,
        ffn=512,
        q_width=256,
        kv_width=128,
        head_dim=16,
    ),
    "small": Geometry(
        vocab=8192,
        d_model=768,
        layers=4,
        experts=8,
        ffn=4096,
        q_width=1024,
        kv_width=512,
        head_dim=64,
    ),
    "medium": Geometry(
        vocab=65536,
        d_model=1536,
        layers=8,
        experts=8,
        ffn=8192,
        q_width=2048,
        kv_width=1024,
        head_dim=128,
    ),
    "real-layer": replace(GROK1.release, layers=1),
    "grok-1": GROK1.release,
}
"""`tiny` 5 MB, `small` 0.3 GB, `medium` 3 GB, `real-layer` 8 GB, `grok-1` 318 GB."""

_GROK2_PRESETS = {
    "tiny": Geometry(
        vocab=1024,
        d_model=128,
        layers=3,
        experts=8,
        ffn=256,
        mlp=512,
        q_width=128,
        kv_width=32,
        head_dim=16,
        scale_groups=None,
    ),
    "small": Geometry(
        vocab=8192,
        d_model=1024,
        layers=4,
        experts=8,
        ffn=1024,
        mlp=2048,
        q_width=1024,
        kv_width=256,
        head_dim=64,
        scale_groups=None,
    ),
    "medium": Geometry(
        vocab=65536,
        d_model=2048,
        layers=5,
        experts=8,
        ffn=4096,
        mlp=8192,
        q_width=2048,
        kv_width=512,
        head_dim=128,
        scale_groups=None,
    ),
    "real-layer": replace(GROK2.release, layers=1),
    "grok-2": GROK2.release,
}
"""`tiny` 7 MB, `small` 0.3 GB, `medium` 3 GB, `real-layer` 13 GB, `grok-2` 539 GB."""

_FAMILIES = {GROK1.name: (GROK1, PRESETS), GROK2.name: (GROK2, _GROK2_PRESETS)}

_LARGEST = (1 << 31) - 1  # of a dimension, in every format that is written


def preset(model: str, name: str) -> Geometry:
    """Return the dimensions of a preset.

    Raises:
        GrokpackError: GP346 for a model or a preset that there is not.
    """
    if model not in _FAMILIES:
        raise UnusableValue.choice("--model", model, _FAMILIES)
    presets = _FAMILIES[model][1]
    if name not in presets:
        facts = (("option", "--preset"), ("takes", ", ".join(presets)))
        hint = "a release is a preset of its own model: leave out `--model`"
        raise UnusableValue(f"`{name}` is no preset of {model}", None, facts, hint)
    return presets[name]


def plan_synth(
    geometry: Geometry,
    seed: int = 0,
    *,
    sparse: bool = False,
    model: str = GROK1.name,
    uneven: float = 0.0,
) -> Plan:
    """Plan a checkpoint of random weights with magnitudes that a trained model has.

    Args:
        geometry: Dimensions, head size included.
        seed: Seed of the weights.
        sparse: True to leave weights as holes: files have their full size and real headers, but
            zeros for weights, and take no disk space.
        model: The model whose release it looks like: `grok-1` or `grok-2`.
        uneven: How much layers, roles and channels differ, from 0 to 1.

    Raises:
        GrokpackError: GP305 where the dimensions do not make a model.
    """
    own = Model(_FAMILIES[model][0], geometry)
    return plan_synth_model(own, seed, sparse=sparse, uneven=uneven)


def plan_synth_model(
    model: Model, seed: int = 0, *, sparse: bool = False, uneven: float = 0.0
) -> Plan:
    """Plan a checkpoint of any family, in the layout of its release, like `plan_synth`.

    Raises:
        GrokpackError: GP305 where the dimensions do not make a model, GP306 where the family's
            release has a form that is not known.
    """
    _refuse(model)
    own: dict[str, Any] = {} if model.family is GROK1 else {"family": model.family.name}
    if uneven:
        own["uneven"] = uneven
    parameters = {**own, **model.geometry.document(), "seed": seed, "sparse": sparse}
    weights = SyntheticWeights(model.geometry, seed, uneven)
    target = synthetic_release.target(model, weights, sparse=sparse)
    return Plan("synth", parameters, None, target, model.family.publication.spdx)


def _refuse_foreign(family: Family, geometry: Geometry) -> None:
    """Refuse dimensions of parts that the family lacks."""
    if (geometry.mlp is None) is not (family.find("mlp_gate") is None):
        how = "no" if geometry.mlp else "a"
        raise GrokpackError("GP305", f"{family.title} has {how} dense MLP")
    if family.release_layout.weights is not DType.I8 and geometry.scale_groups is not None:
        raise GrokpackError("GP305", f"weights of {family.title} have no scales")


def _refuse(model: Model) -> None:
    """Refuse dimensions that the architecture cannot have."""
    family, geometry = model.family, model.geometry
    _refuse_foreign(family, geometry)
    sizes = geometry.document()
    if family.release_layout.weights is not DType.I8:
        del sizes["scale_groups"]
    for name, size in sizes.items():
        if size is None or size < 1:
            raise GrokpackError("GP305", f"{name} must be at least 1, not {size}")
        if size > _LARGEST:
            raise GrokpackError("GP305", f"{name} must be at most {_LARGEST:,}")
    if geometry.layers >= 8000:  # noqa: PLR2004  # file names have five digits
        raise GrokpackError("GP305", f"{geometry.layers} layers do not fit five-digit file names")
    head_dim, groups = geometry.head_dim or 1, geometry.scale_groups or 1
    checks = (
        (geometry.head_dim and head_dim % 2, "the head size is odd, and a rotation turns pairs"),
        (geometry.q_width % head_dim, "the head size does not divide the query width"),
        (geometry.kv_width % head_dim, "the head size does not divide the key/value width"),
        (geometry.q_width % geometry.kv_width, "key/value heads do not divide the query heads"),
        (geometry.ffn % groups, "the scale groups do not divide the expert width"),
        (geometry.q_width % groups, "the scale groups do not divide the query width"),
    )
    for rest, what in checks:
        if rest:
            raise GrokpackError("GP305", what)
