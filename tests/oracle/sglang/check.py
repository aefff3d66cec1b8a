"""Folders that grokpack writes for SGLang, loaded by SGLang's own code on every rank.

python -m tests.oracle.sglang.check --grokpack .venv/bin/python --work build/oracle-sglang/work

Every parameter that SGLang has loaded is compared with what the released weights make it, by the
formulas of released.py; then files are spoilt, and the comparison must notice.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.oracle.grokpack_process import Grokpack, grokpack_at
from tests.oracle.sglang import fp8_folders, grok2_folders, standin
from tests.oracle.sglang.comparison import (
    check_folder,
    check_swapped,
    noticed,
    say,
    spoilt,
)
from tests.oracle.sglang.released import Grok1

SHAPE = {
    "layers": 11, "d-model": 128, "ffn": 256, "experts": 8, "vocab": 512, "heads": 16,
    "kv-heads": 8, "head-dim": 16,
}  # fmt: skip
"""Layers in another order in the files; two query heads to a key head; eight scale groups."""
FOLDERS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "hf, names of sglang, bf16": (("convert", "--to", "hf", "--names", "sglang"), (1, 2, 8)),
    "hf, names of sglang, f32": (
        ("convert", "--to", "hf", "--names", "sglang", "--dtype", "f32"), (1,),
    ),
    "sglang for 2 ranks": (("convert", "--to", "sglang", "--tp", "2"), (2,)),
    "sglang for 8 ranks": (("convert", "--to", "sglang", "--tp", "8"), (8,)),
    "w8a8-int8, not sharded": (
        ("quantize", "--bits", "8", "--to", "w8a8-int8", "--tp", "1"), (1, 2),
    ),
    "w8a8-int8 for 8 ranks": (
        ("quantize", "--bits", "8", "--to", "w8a8-int8", "--tp", "8"), (8,),
    ),
}  # fmt: skip
LIMIT = 2e-4  # of a logit: float32 against float64
SWAPS = {
    "gate and up of one expert": (
        "model.layers.2.block_sparse_moe.experts.3.w1.weight",
        "model.layers.2.block_sparse_moe.experts.3.w3.weight",
    ),
    "two experts' down projections": (
        "model.layers.9.block_sparse_moe.experts.0.w2.weight",
        "model.layers.9.block_sparse_moe.experts.7.w2.weight",
    ),
    "queries of two layers": (
        "model.layers.1.self_attn.q_proj.weight",
        "model.layers.10.self_attn.q_proj.weight",
    ),
    "keys and values": (
        "model.layers.5.self_attn.k_proj.weight",
        "model.layers.5.self_attn.v_proj.weight",
    ),
    "two norms": (
        "model.layers.0.pre_attn_norm.weight",
        "model.layers.0.post_attn_norm.weight",
    ),
}


def check_logits(source: Grok1, folder: Path) -> bool:
    """The model's own forward in float32, beside numpy with SGLang's router and GELU."""
    model = standin.load(str(folder), 1, 0, "float32")
    worst, spread = 0.0, []
    for length in (1, 9, 40):
        ids = np.random.default_rng(length).integers(3, source.config["vocab_size"], length)
        with torch.no_grad():
            found = standin.compute(model, ids.tolist()).numpy()
        wanted = source.logits(source.weights, ids)
        spread.append(wanted.std())
        worst = max(worst, float(np.abs(found - wanted).max()))
    said = f"largest difference {worst:.1e} ({LIMIT:g}), spread {np.mean(spread):.2g}"
    return say("logits, its forward on stand-in kernels", good=worst < LIMIT, said=said)


def check_broken_scale(source: Grok1, folder: Path, work: Path) -> bool:
    def double(arrays: dict[str, Any]) -> None:
        name = "model.layers.4.block_sparse_moe.experts.6.w1.weight_scale"
        if name in arrays and arrays[name].shape[0] < 64:  # in the files of ranks
            arrays[name] *= 2

    folder = spoilt(folder, work / "spoilt-scale", double)
    return noticed(source, "a scale of one rank doubled", folder, (8, 3))


def check_grok1(grokpack: Grokpack, work: Path) -> bool:
    """Everything about Grok-1."""
    made = work / "made"
    grokpack("synth", made, *(str(w) for n, s in SHAPE.items() for w in (f"--{n}", s)))
    source, folders, good = Grok1(made), {}, True
    print("Grok-1: parameters as SGLang's loader leaves them")
    for number, (name, ((verb, *options), widths)) in enumerate(FOLDERS.items()):
        folders[name] = work / str(number)
        grokpack(verb, made, *options, "-o", folders[name])
        good = check_folder(source, name, folders[name], widths) and good
    good = check_logits(source, folders["hf, names of sglang, f32"]) and good
    print("broken: must be noticed")
    good = check_swapped(source, folders["hf, names of sglang, bf16"], work, SWAPS) and good
    return check_broken_scale(source, folders["w8a8-int8 for 8 ranks"], work) and good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grokpack", type=Path, required=True, help="a Python that has grokpack")
    parser.add_argument("--work", type=Path, required=True, help="a folder to empty and use")
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)

    grokpack = grokpack_at(args.grokpack)
    standin.install()
    good = True
    checks = {"grok-1": check_grok1, "grok-2": grok2_folders.check, "fp8": fp8_folders.check}
    for name, check in checks.items():
        work = args.work / name
        work.mkdir(parents=True)
        good = check(grokpack, work) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
