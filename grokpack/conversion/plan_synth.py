"""Plans of `grokpack synth`: synthetic checkpoints of any size in the release's format."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from grokpack.checkpoint.layouts import ckpt0_layout
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Layout
from grokpack.core.tensors import DType, scales_name
from grokpack.formats import ckpt0 as ckpt0_format
from grokpack.models import config_json
from grokpack.models.architecture import Geometry
from grokpack.models.family import Model
from grokpack.models.grok1 import GROK1
from grokpack.planning.plan import Plan
from grokpack.planning.target import Target
from grokpack.transforms import copies, random_values

if TYPE_CHECKING:
    from grokpack.core.tensors import ArraySpec, TensorSpec
    from grokpack.models.architecture import ModelTensor
    from grokpack.transforms.protocols import LazyArray

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

EMBEDDING_RMS = 0.0128  # of the release, by published measurements
_SCALE_SPREAD = 0.1  # relative; scales stay positive: the noise ends at 2 * sqrt(3)

_LARGEST = (1 << 31) - 1  # of a dimension, in every format that is written


def plan_synth(geometry: Geometry, seed: int = 0, *, sparse: bool = False) -> Plan:
    """Plan a Grok-1 checkpoint of random weights with magnitudes that a trained model has.

    Args:
        geometry: Dimensions, head size included.
        seed: Seed of the weights.
        sparse: True to leave weights as holes: files have their full size and real headers, but
            zeros for weights, and take no disk space.

    Raises:
        GrokpackError: GP305 where the dimensions do not make a model.
    """
    return plan_synth_model(Model(GROK1, geometry), seed, sparse=sparse)


def plan_synth_model(model: Model, seed: int = 0, *, sparse: bool = False) -> Plan:
    """Plan a checkpoint of any family, in the layout of its release, like `plan_synth`.

    Raises:
        GrokpackError: GP305 where the dimensions do not make a model, GP306 where the family's
            release has another format.
    """
    _refuse(model)
    geometry = model.geometry
    file_groups = []
    arrays: dict[str, ArraySpec] = {}
    made: dict[str, LazyArray] = {}
    for entry in model.tensors():
        tensor = model.spec(entry)
        arrays |= tensor.arrays()
        file_groups.append(
            ckpt0_layout.lay_out_tensor(f"{ckpt0_format.FOLDER}/", geometry, entry, tensor, 1)
        )
        made |= _zeros(tensor) if sparse else _weights(entry, tensor, geometry, seed)
    finals = {config_json.FILE: config_json.render(model, {})}
    target = Target(
        ckpt0_format.NAME, Layout(arrays, tuple(file_groups)), made, finals, sparse=sparse
    )
    own = {} if model.family is GROK1 else {"family": model.family.name}
    parameters = {**own, **geometry.document(), "seed": seed, "sparse": sparse}
    return Plan("synth", parameters, None, target)


def _zeros(tensor: TensorSpec) -> dict[str, LazyArray]:
    return {
        name: copies.Constant(0, array.dtype.itemsize) for name, array in tensor.arrays().items()
    }


def _weights(
    entry: ModelTensor, tensor: TensorSpec, geometry: Geometry, seed: int
) -> dict[str, LazyArray]:
    name, shape = tensor.name, tensor.values.shape
    if tensor.scales is not None:
        mean = 1 / (random_values.CODE_RMS * math.sqrt(shape[-2]))
        scales, spread = scales_name(name), mean * _SCALE_SPREAD
        return {
            name: random_values.RandomCodes(name, shape, seed),
            scales: random_values.RandomFloats(
                scales, tensor.scales.shape, seed, mean, spread, bf16=True
            ),
        }
    mean, spread = {
        "embedding": (0.0, EMBEDDING_RMS),
        "head": (0.0, 1 / math.sqrt(geometry.d_model)),
        "norm": (1.0, 0.1),
    }.get(entry.rule.role, (0.0, 1 / math.sqrt(shape[-2] if len(shape) > 1 else 1)))
    bf16 = tensor.values.dtype is DType.BF16
    return {name: random_values.RandomFloats(name, shape, seed, mean, spread, bf16=bf16)}


def _refuse(model: Model) -> None:
    """Refuse dimensions that the architecture cannot have, and a release of another format."""
    geometry, sizes = model.geometry, model.geometry.document()
    if model.family.release_layout.format != ckpt0_format.NAME:
        what = f"the release of {model.family.title} is no {ckpt0_format.NAME}"
        raise GrokpackError("GP306", what)
    for name, size in sizes.items():
        if size is None or size < 1:
            raise GrokpackError("GP305", f"{name} must be at least 1, not {size}")
        if size > _LARGEST:
            raise GrokpackError("GP305", f"{name} must be at most {_LARGEST:,}")
    if geometry.layers >= 8000:  # noqa: PLR2004  # file names have five digits
        raise GrokpackError("GP305", f"{geometry.layers} layers do not fit five-digit file names")
    head_dim, groups = geometry.head_dim or 1, geometry.scale_groups or 1
    checks = (
        (geometry.q_width % head_dim, "the head size does not divide the query width"),
        (geometry.kv_width % head_dim, "the head size does not divide the key/value width"),
        (geometry.q_width % geometry.kv_width, "key/value heads do not divide the query heads"),
        (geometry.ffn % groups, "the scale groups do not divide the expert width"),
        (geometry.q_width % groups, "the scale groups do not divide the query width"),
    )
    for rest, what in checks:
        if rest:
            raise GrokpackError("GP305", what)
