"""A family that grokpack has never heard of, as a table.

It has names of its own, a dense MLP beside the experts, an output head that is not the embedding,
caps and a temperature that Grok-1 has not, and layers stored from the last to the first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from grokpack.core.tensors import DType
from grokpack.models.architecture import PARTS, Geometry, NetworkPart
from grokpack.models.config_keys import CONSTANT_KEYS, DIMENSION_KEYS
from grokpack.models.family import Architecture, Family, Publication, ReleaseLayout
from grokpack.models.gguf_names import GgufNames
from grokpack.models.grok1 import GROK1
from grokpack.models.tensor_names import Convention, ModelClasses

SMALL = Geometry(64, 96, 3, 4, ffn=128, q_width=128, kv_width=64, head_dim=16, mlp=256)
HEADS: dict[NetworkPart, str] = {"head": "unembed", "embedding": "embed", "final_norm": "norm"}
LAYER = {part: part for part in sorted(PARTS) if part not in HEADS}
CAPS: dict[str, Any] = {"router_logit_cap": 2.0, "final_logit_cap": 1.5, "temperature_context": 5}
EXPERTS = {part: f"{part}.{{expert}}" for part in LAYER if PARTS[part].role == "expert"}
NAMES = {part: f"{word}.weight" for part, word in {**HEADS, **LAYER}.items()}
THEIRS = {part: f"{word}.weight" for part, word in {**HEADS, **LAYER, **EXPERTS}.items()}

FAMILY = Family(
    name="third",
    paths={**{p: f"net/{word}" for p, word in HEADS.items()}, **{p: f"w/{p}" for p in LAYER}},
    layer_prefix="net/block_{layer}/",
    release=SMALL,
    release_layout=ReleaseLayout("ckpt-0", weights=DType.I8, others=DType.F32),
    publication=Publication("Third Party", "third/third", "mit", "MIT License"),
    network=Architecture("erf", mix_factor=0.1),
    constants=lambda geometry: replace(GROK1.constants(geometry), **CAPS),
    hyperparameters={**CONSTANT_KEYS, **{name: (f"own_{name}",) for name in CAPS}},
    dimensions={**DIMENSION_KEYS, "ffn": ("expert_width",)},
    conventions={
        "third": Convention("third", "blocks.{layer}.{rest}", THEIRS, ModelClasses("T", "t"))
    },
    gguf=GgufNames("third", NAMES),
    marks={"family": "third"},
    layer_order=lambda layers: range(layers - 1, -1, -1),
)
