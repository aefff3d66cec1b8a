"""Folders in FP8 of both models, as SGLang's presharded loader and its ordinary one leave them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from tests.oracle.ct.folders import Folder
from tests.oracle.sglang import standin
from tests.oracle.sglang.comparison import (
    check_folder,
    check_swapped,
    noticed,
    say,
    spoilt,
)
from tests.oracle.sglang.released import Grok1, Grok2

if TYPE_CHECKING:
    from tests.oracle.grokpack_process import Grokpack

LIMIT = 2e-4  # of a logit: float32 against float64
LENGTHS = (1, 9, 40)
# Slices of two and of four ranks are whole blocks of 128.
SHAPE = "--layers 2 --d-model 192 --ffn 512 --experts 2 --vocab 512 --heads 4 --head-dim 128"
FORMS = {
    "blocks": (),
    "blocks, attention kept": ("--keep", "attention"),
    "outputs": ("--group", "channel"),
    "outputs, attention kept": ("--group", "channel", "--keep", "attention"),
}
KEPT_MLP = {
    "blocks, MLP kept": ("--keep", "mlp"),
    "outputs, MLP kept": ("--group", "channel", "--keep", "mlp"),
}
WIDTHS = (1, 2, 4)
EXPERT = "model.layers.1.block_sparse_moe.experts.1."
SWAPS = {
    "scales of gate and up of one expert": (
        f"{EXPERT}w1.weight_scale_inv",
        f"{EXPERT}w3.weight_scale_inv",
    ),
    "codes of gate and up of one expert": (f"{EXPERT}w1.weight", f"{EXPERT}w3.weight"),
}


@dataclass(frozen=True)
class Model:
    """A family: how a checkpoint of it is made and read, and options of `quantize`, by form."""

    name: str
    synth: str
    source: Callable[[Path], Grok1 | Grok2]
    forms: dict[str, tuple[str, ...]]


MODELS = (
    Model("Grok-1", f"{SHAPE} --kv-heads 4 --scale-groups 2", Grok1, FORMS),
    # At 4 ranks two of them share a key head.
    Model("Grok-2", f"--model grok-2 {SHAPE} --kv-heads 2 --mlp 512", Grok2, FORMS | KEPT_MLP),
)


def check(grokpack: Grokpack, work: Path) -> bool:
    """Everything about FP8."""
    good = [_check_model(model, grokpack, work / model.name) for model in MODELS]
    return all(good)


def _check_model(model: Model, grokpack: Grokpack, work: Path) -> bool:
    print(f"{model.name} in FP8: parameters as SGLang's loader leaves them")
    work.mkdir()
    made = work / "made"
    grokpack("synth", made, *model.synth.split())
    source, good = model.source(made), True
    for number, (form, options) in enumerate(model.forms.items()):
        whole = work / f"{number}-whole"
        grokpack("quantize", made, "--to", "fp8", *options, "-o", whole)
        good = check_folder(source, f"{form}, not sharded", whole, WIDTHS) and good
        good = _check_logits(source, form, whole) and good
        for ranks in WIDTHS[1:]:
            out = work / f"{number}-{ranks}"
            grokpack("quantize", made, "--to", "fp8", *options, "--tp", ranks, "-o", out)
            good = check_folder(source, f"{form}, for {ranks} ranks", out, (ranks,)) and good
    print("broken: must be noticed")
    good = check_swapped(source, work / "0-whole", work, SWAPS) and good
    crossed = spoilt(work / "0-2", work / "crossed", _first_scales_doubled)
    return noticed(source, "scales of a rank's blocks doubled", crossed, (2, 1)) and good


def _first_scales_doubled(arrays: dict[str, torch.Tensor]) -> None:
    """Of an expert's matrix in the files of ranks; the common one has none."""
    if f"{EXPERT}w2.weight_scale_inv" in arrays:
        arrays[f"{EXPERT}w2.weight_scale_inv"][0] *= 2


def _check_logits(source: Grok1 | Grok2, form: str, folder: Path) -> bool:
    """The model's own forward on dequantized parameters, beside numpy on the folder's weights."""
    loaded, worst = standin.load(str(folder), 1, 0, "float32"), 0.0
    standin.dequantize(loaded)
    decoded = source.decoded(Folder(folder, source.folder))
    for length in LENGTHS:
        ids = np.random.default_rng(length).integers(3, source.config["vocab_size"], length)
        with torch.no_grad():
            found = standin.compute(loaded, ids.tolist()).numpy()
        worst = max(worst, float(np.abs(found - source.logits(decoded, ids)).max()))
    said = f"largest difference {worst:.1e} ({LIMIT:g})"
    return say(f"{form}: logits", good=worst < LIMIT, said=said)
