"""Grok-2 merged and quantized, in vLLM 0.24, against its own variant of the network in numpy.

python -m tests.oracle.vllm.grok2_merged --python PYTHON_OF_GROKPACK --work FOLDER
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ml_dtypes  # noqa: F401  # numpy learns bfloat16
import numpy as np
from safetensors.numpy import load_file, save_file

from tests.oracle.ct.folders import Folder
from tests.oracle.forward_grok2 import VLLM, Variant, forward, load
from tests.oracle.grokpack_process import grokpack_at
from tests.oracle.vllm.quantized import GPTQ_4, Case, Network, check
from tests.oracle.vllm.running import Array, computed, prompts, run_vllm, verdict

if TYPE_CHECKING:
    from tests.oracle.forward import Weights

# vLLM's attention for CPU wants heads of 32 and more, and a residual as wide as the query heads.
SHAPE = (
    "--layers 3 --d-model 256 --mlp 512 --ffn 256 --experts 8 --vocab 640 --heads 8 --kv-heads 2"
    " --head-dim 32"
)
LOUDER = {"lm_head.weight": 16, "block_sparse_moe.gate.weight": 16, "q_proj.weight": 8}
"""Factors that bring logits to their caps, which the weights of `synth` leave alone."""
LIMIT = 1e-2  # of a log probability, with such weights; 3.6e-3 was measured
CASES = [
    Case("--bits 4"),
    Case("--bits 4", broken="model.layers.1.block_sparse_moe.experts.3.w3"),
    Case(GPTQ_4),
    Case("--bits 8 --to compressed-tensors --group channel"),
    Case("--bits 4 --keep mlp"),
    Case("--bits 4 --keep attention"),
]


def amplify(release: Path) -> None:
    """Make some weights greater, by powers of two, and let the temperature begin early."""
    for path in release.glob("*.safetensors"):
        arrays = load_file(path)
        for name, values in arrays.items():
            factor = next((f for ending, f in LOUDER.items() if name.endswith(ending)), 1)
            arrays[name] = (values.astype(np.float32) * factor).astype(values.dtype)
        save_file(arrays, path, {"format": "pt"})
    place = release / "config.json"
    config = json.loads(place.read_text(encoding="utf-8")) | {"attn_temperature_len": 16}
    place.write_text(json.dumps(config), encoding="utf-8")


def network(release: Path, variant: Variant = VLLM) -> Network:
    """What numpy computes."""
    weights, config = load(release)
    ids = [np.array(one) for one in prompts(config["vocab_size"])]

    def compute(some: Weights) -> Array:
        rows = (forward(some, config, one, np.float64, variant) for one in ids)
        return np.concatenate(list(rows))

    return Network(compute, lambda folder: decoded(folder, release), weights, LIMIT)


def decoded(folder: Path, release: Path) -> Weights:
    """A quantized folder's weights by the release's names."""
    found = Folder(folder, release)
    return lambda name: found.matrix(name.removesuffix(".weight"))


def check_merged(release: Path, merged: Path) -> bool:
    """Everything about the merged folder, and about the release itself."""
    print("Grok-2, float32")
    found, taken = map(computed, run_vllm([(merged, "float32"), (release, "float32")]))
    wanted = network(release).wanted
    far = float(np.abs(found - wanted).max())
    good = far < LIMIT
    print(f"  {verdict(good)} merged: at most {far:.1e} ({LIMIT:g}), spread {wanted.std():.2g}")
    print("otherwise: must be noticed")
    for field in fields(VLLM):
        other = replace(VLLM, **{field.name: not getattr(VLLM, field.name)})
        moved = float(np.abs(found - network(release, other).wanted).max())
        print(
            f"  {verdict(moved > LIMIT)} {field.name} otherwise in numpy: {moved:.1e}", flush=True
        )
        good = good and moved > LIMIT
    moved = float(np.abs(taken - wanted).max())
    noticed = not moved <= LIMIT  # it may be NaN: what no file fills is any memory
    print(f"  {verdict(noticed)} the release itself, which vLLM takes: {moved:.1e}")
    return good and noticed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="a Python that has grokpack")
    parser.add_argument("--work", type=Path, required=True, help="a folder to empty and use")
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    release, merged = args.work / "release", args.work / "merged"
    grokpack = grokpack_at(args.python)
    grokpack("synth", release, "--model", "grok-2", *SHAPE.split())
    amplify(release)
    grokpack("convert", release, "--to", "hf", "-o", merged)
    good = check_merged(release, merged)
    return (
        0 if check(CASES, network(release), args.python, release, args.work / "q") and good else 1
    )


if __name__ == "__main__":
    sys.exit(main())
