"""A family that grokpack has never heard of, as a table.

It has names of its own, a dense MLP beside the experts, an output head that is not the embedding,
caps and a temperature that Grok-1 has not, and layers stored from the last to the first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from grokpack.core.tensors import DType
from grokpack.models.architecture import Geometry, TensorRule
from grokpack.models.family import Architecture, ReleaseLayout
from grokpack.models.grok1 import GROK1
from grokpack.models.tensor_names import Classes, Convention

SMALL = Geometry(
    vocab=64,
    d_model=96,
    layers=3,
    experts=4,
    ffn=128,
    q_width=128,
    kv_width=64,
    head_dim=16,
    mlp=256,
)
MLP = (
    TensorRule("mlp/up", ("d_model", "mlp"), "mlp_up", "MLP, up projection", "columns"),
    TensorRule("mlp/gate", ("d_model", "mlp"), "mlp_gate", "MLP, gate projection", "columns"),
    TensorRule("mlp/down", ("mlp", "d_model"), "mlp_down", "MLP, down projection", "rows"),
)
HEAD = TensorRule("net/unembed", ("vocab", "d_model"), "head", "output head", "features")
SGLANG = GROK1.conventions["sglang"]
THEIRS = {part: rest.replace("block_sparse_moe", "moe") for part, rest in SGLANG.table.items()}
DENSE = {rule.part: f"dense.{rule.part}.weight" for rule in MLP}
WIDTHS = {"ffn": ("moe_intermediate_size",), "mlp": ("intermediate_size",)}
CONSTANTS: dict[str, Any] = {
    "router_logit_cap": 2.0,
    "final_logit_cap": 1.5,
    "temperature_context": 5,
}
CONSTANT_KEYS = {name: (f"own_{name}",) for name in CONSTANTS}
FAMILY = replace(
    GROK1,
    name="third",
    title="Third",
    global_rules=(HEAD, *(replace(r, path=f"net/{r.part}", gguf="") for r in GROK1.global_rules)),
    layer_rules=(*(replace(r, path=f"w/{r.part}", gguf="") for r in GROK1.layer_rules), *MLP),
    layer_prefix="net/block_{layer}/",
    release=SMALL,
    release_layout=ReleaseLayout("ckpt-0", weights=DType.I8, others=DType.F32),
    network=Architecture("gelu_erf", mix_factor=0.1),
    constants=lambda geometry: replace(GROK1.constants(geometry), **CONSTANTS),
    hyperparameters={**GROK1.hyperparameters, **CONSTANT_KEYS},
    dimensions={**GROK1.dimensions, **WIDTHS},
    conventions={
        "third": Convention(
            "third",
            "blocks.{layer}.{rest}",
            THEIRS | DENSE | {"head": "unembed.weight"},
            "unembed.weight",
            Classes("ThirdForCausalLM", "", "third", tied=True),
        )
    },
    code=(),
    gguf_architecture=None,
    marks={"family": "third"},
    layer_order=lambda layers: range(layers - 1, -1, -1),
)
