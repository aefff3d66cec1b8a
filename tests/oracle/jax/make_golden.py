"""Make a small checkpoint with xAI's own pickling, and its logits with xAI's own network.

    python make_golden.py OUT --xai CLONE --model gqa12

The order of the files is that of xAI's own flattened state, not a table of ours.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import logits

LENGTHS = (24, 24, 9)

# xAI's model.py names eight experts where it makes its one-hot indices: no other number runs.
_SHARED = {
    "num_experts": 8,
    "num_selected_experts": 2,
    "pad_token": 0,
    "eos_token": 2,
    "sequence_len": 64,
    "output_multiplier_scale": 0.5773502691896257,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e4,
    "attn_logit_cap": 30.0,
}
MODELS: dict[str, dict[str, Any]] = {
    # Two query heads for each key-value head; layers 10 and 11 before 2; 11 rows a scale group.
    "gqa12": {
        "emb_size": 64,
        "key_size": 8,
        "num_q_heads": 16,
        "num_kv_heads": 8,
        "num_layers": 12,
        "vocab_size": 256,
        "widening_factor": 2,
        "scale_groups": 8,
    },
    # Written at width 4: four groups, four key-value heads; 18 rows a group.
    "kv4": {
        "emb_size": 48,
        "key_size": 10,
        "num_q_heads": 12,
        "num_kv_heads": 4,
        "num_layers": 3,
        "vocab_size": 128,
        "widening_factor": 2.25,
        "scale_groups": 4,
    },
}
_GOLDENS = {"stock": "logits_f32", "f32": "logits_fprop32", "exact": "logits_exact32"}

_OPTIONS = argparse.ArgumentParser(description=__doc__)
_OPTIONS.add_argument("out")
_OPTIONS.add_argument("--xai", required=True)
_OPTIONS.add_argument("--model", choices=MODELS, required=True)
_OPTIONS.add_argument("--seed", type=int, default=1)


def _config(model: str, seed: int) -> dict[str, Any]:
    values = {**_SHARED, **MODELS[model], "name": model, "seed": seed}
    values["embedding_multiplier_scale"] = math.sqrt(values["emb_size"])
    values["attn_output_multiplier"] = 1 / math.sqrt(values["key_size"])
    values["prompt_lengths"] = list(LENGTHS)
    return values


def _value(name: str, shape: tuple[int, ...], groups: int, draw: Any) -> Any:
    """A tensor as the release holds it: float32, or int8 codes with bf16 scales."""
    import ml_dtypes
    import numpy as np
    from model import QuantizedWeight8bit

    if name.endswith("rms_norm/scale") or "/rms_norm_" in name:
        return (1 + 0.2 * draw.standard_normal(shape)).astype(np.float32)
    if not name.endswith("/w") or "router" in name:
        spread = 2 / math.sqrt(shape[0]) if "router" in name else 1 / math.sqrt(shape[1])
        return (spread * draw.standard_normal(shape)).astype(np.float32)
    codes = draw.integers(-128, 128, shape).astype(np.int8)
    row_parallel = "linear_1" in name or "multi_head_attention/linear" in name
    rows = groups if row_parallel else 1
    # Groups differ by up to a factor of eight, so that a wrong order of them shows.
    scales = draw.uniform(0.25, 2, (*shape[:-2], rows, shape[-1])) / (74 * math.sqrt(shape[-2]))
    return QuantizedWeight8bit(codes, scales.astype(ml_dtypes.bfloat16))


def _write(out: Path, xai: str, values: dict[str, Any]) -> None:
    import jax
    import numpy as np
    import reference

    runners = reference.load(xai, "stock")
    from checkpoint import fast_pickle, path_tuple_to_string
    from model import QuantizedWeight8bit

    QuantizedWeight8bit.__module__ = "__main__"  # the name that the release has it by
    runner = reference.make_runner(runners, values, "", values["scale_groups"])
    with runner.mesh:
        state = jax.eval_shape(runner.init_fn, jax.random.PRNGKey(0), reference.dummy_data())
    draw = np.random.default_rng(values["seed"])
    (out / "ckpt-0").mkdir(parents=True, exist_ok=True)
    for index, (path, leaf) in enumerate(jax.tree_util.tree_flatten_with_path(state)[0]):
        name = path_tuple_to_string(path).removeprefix("params/")
        value = _value(name, leaf.shape, values["scale_groups"], draw)
        fast_pickle(value, str(out / "ckpt-0" / f"tensor{index:05d}_000"))
    tokens = np.zeros((len(LENGTHS), max(LENGTHS)), np.int32)
    for row, length in enumerate(LENGTHS):
        tokens[row, :length] = draw.integers(1, values["vocab_size"], length)
    np.save(out / "tokens.npy", tokens)
    (out / "config.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Write the checkpoint; then let logits.py load it, once for each way to compute."""
    options = _OPTIONS.parse_args()
    out, values = Path(options.out), _config(options.model, options.seed)
    logits.set_devices(values["scale_groups"])
    _write(out, options.xai, values)
    script = Path(__file__).with_name("logits.py")
    for mode, name in _GOLDENS.items():
        command = [sys.executable, str(script), str(out), "--xai", options.xai, "--mode", mode]
        command += ["--width", str(values["scale_groups"]), "--tokens", str(out / "tokens.npy")]
        command += ["--lengths", ",".join(map(str, LENGTHS)), "--out", str(out / f"{name}.npy")]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
