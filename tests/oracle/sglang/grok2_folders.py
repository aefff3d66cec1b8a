"""Grok-2 at every width, as SGLang's presharded loader and its ordinary one leave it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from tests.oracle.forward_grok2 import LIMIT
from tests.oracle.sglang import standin
from tests.oracle.sglang.comparison import check_folder, check_swapped, noticed, say
from tests.oracle.sglang.released import Grok2

if TYPE_CHECKING:
    from tests.oracle.grokpack_process import Grokpack

GOLDEN = Path("tests/data/grok2-tiny")
SHAPE = {
    "layers": 3, "d-model": 128, "mlp": 512, "ffn": 256, "experts": 8, "vocab": 1024, "heads": 16,
    "kv-heads": 8, "head-dim": 16,
}  # fmt: skip
"""At 16 ranks two of them share a key head."""
QUANTIZED = ("quantize", "--bits", "8", "--to", "w8a8-int8", "--tp")
FOLDERS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "merged": (("convert", "--to", "hf"), (1, 2, 16)),
    **{f"for {tp} ranks": (("reshard", "--tp", str(tp)), (tp,)) for tp in (1, 2, 4, 8, 16)},
    "w8a8-int8, not sharded": ((*QUANTIZED, "1"), (1, 2)),
    **{f"w8a8-int8 for {tp} ranks": ((*QUANTIZED, str(tp)), (tp,)) for tp in (2, 8, 16)},
}
LAYER = "model.layers.1."
SWAPS = {
    "gate and up of one expert": (
        f"{LAYER}block_sparse_moe.experts.3.w1.weight",
        f"{LAYER}block_sparse_moe.experts.3.w3.weight",
    ),
    "two experts' down projections": (
        f"{LAYER}block_sparse_moe.experts.0.w2.weight",
        f"{LAYER}block_sparse_moe.experts.7.w2.weight",
    ),
    "gate and up of the MLP": (
        f"{LAYER}mlp.gate_proj.weight",
        f"{LAYER}mlp.up_proj.weight",
    ),
    "down projections of two MLPs": (
        f"{LAYER}mlp.down_proj.weight",
        "model.layers.2.mlp.down_proj.weight",
    ),
    "keys and values": (
        f"{LAYER}self_attn.k_proj.weight",
        f"{LAYER}self_attn.v_proj.weight",
    ),
    "head and embedding": ("lm_head.weight", "model.embed_tokens.weight"),
}


def check(grokpack: Grokpack, work: Path) -> bool:
    """Everything about Grok-2."""
    made = work / "made"
    shape = (str(word) for name, size in SHAPE.items() for word in (f"--{name}", size))
    grokpack("synth", made, "--model", "grok-2", *shape)
    source, folders = Grok2(made), {"release": made}
    print("Grok-2: parameters as SGLang's loader leaves them")
    good = check_folder(source, "release", made, (8,))
    for number, (name, ((verb, *options), widths)) in enumerate(FOLDERS.items()):
        folders[name] = work / str(number)
        grokpack(verb, made, *options, "-o", folders[name])
        good = check_folder(source, name, folders[name], widths) and good
    good = _check_logits(grokpack, work / "golden") and good
    print("broken: must be noticed")
    good = check_swapped(source, folders["merged"], work, SWAPS) and good
    good = noticed(source, "the release at 4 ranks", made, (4, 1)) and good
    crossed = _crossed(folders["for 4 ranks"], work / "crossed")
    return noticed(source, "slices of two ranks swapped", crossed, (4, 2)) and good


def _crossed(folder: Path, out: Path) -> Path:
    """A folder in which two ranks have one another's slices of w2."""
    shutil.copytree(folder, out)
    one, other = (out / f"pytorch_model-00007-TP-{rank:03d}.safetensors" for rank in (1, 2))
    aside = one.rename(out / "aside")
    other.rename(one)
    aside.rename(other)
    return out


def _check_logits(grokpack: Grokpack, out: Path) -> bool:
    """The model's own forward in float32 on the golden, merged, beside the golden logits."""
    grokpack("convert", GOLDEN / "release", "--to", "hf", "-o", out)
    model = standin.load(str(out), 1, 0, "float32")
    worst = 0.0
    for ids, wanted in zip(
        np.load(GOLDEN / "tokens.npy"), np.load(GOLDEN / "logits_f32.npy"), strict=True
    ):
        with torch.no_grad():
            found = standin.compute(model, ids.tolist()).numpy()
        worst = max(worst, float(np.abs(found - wanted).max()))
    said = f"largest difference {worst:.1e} ({LIMIT:g})"
    return say("golden logits, its forward on stand-in kernels", good=worst < LIMIT, said=said)
