"""xAI's own code, imported from where the user has it and driven as `run.py` drives it.

Runs in the pinned environment of requirements.txt, never in grokpack's.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MODES = ("stock", "f32", "exact")
"""How the network computes.

stock: as released, activations in bf16. Two widths differ by bf16 noise and flips of experts.
f32: the released code with `fprop_dtype = float32`; weights and expert outputs still round to bf16.
exact: the two casts of expert outputs to bf16 made float32, and scales widened: plain float32.
"""

_CASTS = {  # the only lines that `exact` changes, in memory
    "out = expert_gate[:, :, :, None].astype(jnp.bfloat16) * out": (
        "out = expert_gate[:, :, :, None].astype(jnp.float32) * out"
    ),
    "out = out.astype(jnp.bfloat16)": "out = out.astype(jnp.float32)",
}


def load(xai: str, mode: str) -> Any:
    """Import `model`, `checkpoint` and `runners` of a clone of xai-org/grok-1; gives `runners`."""
    sys.path.insert(0, xai)
    if mode == "exact":
        sys.modules["model"] = _without_casts(Path(xai, "model.py"))
    import runners

    return runners


def _without_casts(path: Path) -> types.ModuleType:
    source = path.read_text(encoding="utf-8")
    for line, changed in _CASTS.items():
        if source.count(line) != 1:
            message = f"{path}: not the model.py that this oracle knows"
            raise SystemExit(message)
        source = source.replace(line, changed)
    module = types.ModuleType("model")
    sys.modules["model"] = module  # dataclasses look their module up while they are made
    exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102  # the user's own clone
    return module


def config_of(values: Mapping[str, Any]) -> Any:
    """The `LanguageModelConfig` that `run.py` would write for these dimensions."""
    from model import LanguageModelConfig, TransformerConfig

    return LanguageModelConfig(
        vocab_size=values["vocab_size"],
        pad_token=values["pad_token"],
        eos_token=values["eos_token"],
        sequence_len=values["sequence_len"],
        embedding_init_scale=1.0,
        output_multiplier_scale=values["output_multiplier_scale"],
        embedding_multiplier_scale=values["embedding_multiplier_scale"],
        model=TransformerConfig(
            emb_size=values["emb_size"],
            widening_factor=_widening(values),
            key_size=values["key_size"],
            num_q_heads=values["num_q_heads"],
            num_kv_heads=values["num_kv_heads"],
            num_layers=values["num_layers"],
            attn_output_multiplier=values["attn_output_multiplier"],
            shard_activations=True,
            num_experts=values["num_experts"],
            num_selected_experts=values["num_selected_experts"],
            data_axis="data",
            model_axis="model",
        ),
    )


def _widening(values: Mapping[str, Any]) -> float:
    """The factor that gives this width of the experts; a Hugging Face folder has only the width."""
    found: float = values.get("widening_factor") or 1.5 * values["ffn_size"] / values["emb_size"]
    return found


def make_runner(
    runners: Any, values: Mapping[str, Any], folder: str, width: int, hosts: int = 1
) -> Any:
    """A `ModelRunner` for a folder that holds `ckpt-0`, initialized over `width` devices."""
    runner = runners.ModelRunner(
        model=config_of(values), bs_per_device=1 / width, checkpoint_path=folder
    )
    runner.transform_forward = True
    runner.initialize(
        dummy_data(), local_mesh_config=(1, width // hosts), between_hosts_config=(1, hosts)
    )
    return runner


def dummy_data() -> dict[str, Any]:
    """The inputs that xAI's `InferenceRunner` shapes the state with."""
    import numpy as np

    zeros = np.zeros((1, 256), np.int32)
    return {"inputs": zeros, "targets": zeros}


def forward(runner: Any, mode: str) -> Any:
    """A compiled function from parameters and tokens [1, T] to logits [T, vocab], float32."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    if mode != "stock":
        runner.model.fprop_dtype = jnp.float32

    def logits(params: Any, tokens: Any) -> Any:
        if mode == "exact":
            params = _with_wide_scales(params)
        output, _ = runner.forward.apply(params, None, tokens)
        return output.logits[0].astype(jnp.float32)

    whole = NamedSharding(runner.mesh, PartitionSpec())
    return jax.jit(logits, out_shardings=whole)


def _with_wide_scales(params: Any) -> Any:
    import jax
    import jax.numpy as jnp
    from model import QuantizedWeight8bit

    def widen(leaf: Any) -> Any:
        if isinstance(leaf, QuantizedWeight8bit):
            return QuantizedWeight8bit(leaf.weight, leaf.scales.astype(jnp.float32))
        return leaf

    return jax.tree_util.tree_map(
        widen, params, is_leaf=lambda leaf: isinstance(leaf, QuantizedWeight8bit)
    )
