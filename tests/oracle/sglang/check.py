"""Folders that grokpack writes for SGLang, loaded by SGLang's own code on every rank.

python -m tests.oracle.sglang.check --grokpack .venv/bin/python --work build/oracle-sglang/work

Every parameter that SGLang has loaded is compared with what xAI's weights make it, by formulas of
this file; then files are spoilt, and the comparison must notice.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from tests.oracle import forward
from tests.oracle.sglang import standin

standin.install()

Array = np.ndarray
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
NORMS = {
    "pre_attn_norm": "rms_norm/scale",
    "post_attn_norm": "rms_norm_1/scale",
    "pre_moe_norm": "rms_norm_2/scale",
    "post_moe_norm": "rms_norm_3/scale",
}


class Source:
    """xAI's weights, as a loader of their own reads them.

    Args:
        folder: A ckpt-0 checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        inner = folder / "ckpt-0"
        self.weights, self.config = forward.load(folder)
        self._files = forward.files(inner, self.config["num_layers"])

    def codes(self, name: str) -> tuple[Array, Array]:
        """int8 codes and scales in float32."""
        codes, scales = forward.stored(self._files[name])
        assert scales is not None
        return codes, scales.astype(np.float32)


def cut(values: Array, axis: int, ranks: int, rank: int) -> Array:
    """A rank's share along an axis."""
    return np.split(values, ranks, axis)[rank]


def parts(layer: int, module: str) -> list[tuple[str, int | None]]:
    """xAI's weights that a module of SGLang's holds, and the axis of `[out, in]` that ranks cut."""
    names = {
        "self_attn.qkv_proj": [("query", 0), ("key", 0), ("value", 0)],
        "self_attn.o_proj": [("linear", 1)],
        "block_sparse_moe.experts.w13": [("linear", 0), ("linear_v", 0)],
        "block_sparse_moe.experts.w2": [("linear_1", 1)],
    }[module]
    kind = "moe" if "moe" in module else "multi_head_attention"
    return [(f"transformer/decoder_layer_{layer}/{kind}/{n}/w", axis) for n, axis in names]


def expected(source: Source, name: str, ranks: int, rank: int) -> Array:
    """What a parameter in floating point must be before it is rounded, `f32[...]`."""
    if name in ("model.embed_tokens.weight", "lm_head.weight"):
        return cut(source.weights(forward.GLOBALS[0]), 0, ranks, rank)
    if name == "model.norm.weight":
        return source.weights(forward.GLOBALS[1])
    _, _, number, *rest = name.split(".")
    layer, own = int(number), ".".join(rest).removesuffix(".weight").removesuffix("_weight")
    prefix = f"transformer/decoder_layer_{layer}/"
    if own in NORMS:
        return source.weights(prefix + NORMS[own])
    if own == "block_sparse_moe.gate":
        return source.weights(prefix + "router/w").T
    made = []
    for weight, axis in parts(layer, own):
        turned = source.weights(weight).swapaxes(-1, -2)
        made.append(cut(turned, axis - 2, ranks, rank))
    return np.concatenate(made, axis=-2)


def rounded(values: Array, dtype: torch.dtype) -> Array:
    """Float32 after one rounding."""
    if dtype is torch.bfloat16:
        return values.astype(ml_dtypes.bfloat16).astype(np.float32)
    return values


def float_is_right(
    source: Source, name: str, found: torch.Tensor, stored: torch.dtype, place: tuple[int, int]
) -> bool:
    """Whether a parameter is exactly what it must be."""
    wanted = expected(source, name, *place)
    kept = stored if found.dtype is not torch.float32 or "gate" not in name else torch.float32
    if name == "lm_head.weight":  # SGLang multiplies it in float32, from what the file has
        factor = np.float32(source.config["output_multiplier_scale"])
        wanted = rounded(wanted, kept) * factor
    wanted = rounded(wanted, found.dtype)
    return bool(np.array_equal(found.float().numpy(), wanted))


def codes_are_right(
    source: Source, name: str, model: dict[str, torch.Tensor], place: tuple[int, int]
) -> bool:
    """Whether int8 codes times their scales are the weight: the released codes where they can be.

    Else no weight is farther from its code than half a step.
    """
    codes, scales = model[name].numpy(), model[f"{name}_scale"].numpy()
    wanted = expected(source, name, *place)
    layer, own = int(name.split(".")[2]), name.split(".", 3)[3]
    released = []
    for weight, axis in parts(layer, own.removesuffix(".weight").removesuffix("_weight")):
        values, steps = source.codes(weight)
        assert axis is not None
        groups = steps.swapaxes(-1, -2)  # [..., out, group]
        share = cut(groups, axis - 2, *place) if axis == 0 or place[0] > 1 else groups
        released.append((cut(values.swapaxes(-1, -2), axis - 2, *place), share))
    if all(groups.shape[-1] == 1 for _, groups in released) and "o_proj" not in name:
        same = np.concatenate([c for c, _ in released], axis=-2)
        steps = np.concatenate([s for _, s in released], axis=-2)
        return np.array_equal(codes, same) and np.array_equal(scales, steps)
    error = np.abs(codes.astype(np.float64) * scales - wanted)
    # a rank's share of the inputs need not have the largest of an output
    used = place[0] > 1 or np.abs(codes.astype(np.int16)).max(axis=-1) >= 127
    return bool((error <= scales * 0.5001).all() and np.all(used))


def wrong(source: Source, folder: Path, ranks: int, rank: int) -> Iterator[str]:
    """Parameters of a rank that are not what they must be."""
    dtype = json.loads((folder / "config.json").read_text(encoding="utf-8"))["torch_dtype"]
    model = standin.load(str(folder), ranks, rank, dtype)
    parameters = {name: p.data for name, p in model.named_parameters()}
    for name, found in parameters.items():
        if name.endswith("_scale"):
            continue
        if found.dtype is torch.int8:
            good = codes_are_right(source, name, parameters, (ranks, rank))
        else:
            good = float_is_right(source, name, found, getattr(torch, dtype), (ranks, rank))
        if not good:
            yield name


def say(what: str, *, good: bool, said: str = "") -> bool:
    print(f"  {'ok  ' if good else 'FAIL'} {what:44} {said}", flush=True)
    return good


def check_folder(source: Source, name: str, folder: Path, widths: tuple[int, ...]) -> bool:
    good = True
    for ranks in widths:
        bad = [f"rank {r}: {n}" for r in range(ranks) for n in wrong(source, folder, ranks, r)]
        said = f"{bad[0]} and {len(bad) - 1} more" if bad else "every parameter of every rank"
        good = say(f"{name}, tp {ranks}", good=not bad, said=said) and good
    return good


def check_logits(source: Source, folder: Path) -> bool:
    """The model's own forward in float32, with the router's logits capped in numpy as well."""
    model = standin.load(str(folder), 1, 0, "float32")
    worst, spread = 0.0, []
    honest = forward.softmax
    for length in (1, 9, 40):
        ids = np.random.default_rng(length).integers(3, source.config["vocab_size"], length)
        with torch.no_grad():
            found = standin.compute(model, ids.tolist()).numpy()
        forward.softmax = _capping(honest, source.config["num_experts"])
        wanted = forward.forward(source.weights, source.config, ids, np.float64)
        forward.softmax = honest
        spread.append(wanted.std())
        worst = max(worst, float(np.abs(found - wanted).max()))
    said = f"largest difference {worst:.1e} ({LIMIT:g}), spread {np.mean(spread):.2g}"
    return say("logits, its forward on stand-in kernels", good=worst < LIMIT, said=said)


def _capping(honest: Callable[[Array], Array], experts: int) -> Callable[[Array], Array]:
    """Softmax with what SGLang's router does to its logits, and only to those."""

    def softmax(x: Array) -> Array:
        return honest(30 * np.tanh(x / 30) if x.shape[-1] == experts else x)

    return softmax


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


def check_broken(source: Source, folder: Path, work: Path) -> bool:
    """Two arrays of a file in each other's place, and scales of one expert doubled."""
    good = True
    for what, (first, second) in SWAPS.items():

        def swap(arrays: dict[str, Any], a: str = first, b: str = second) -> None:
            arrays[a], arrays[b] = arrays[b], arrays[a]

        bad = list(wrong(source, spoilt(folder, work / "spoilt", swap), 1, 0))
        good = say(f"{what} swapped", good=bool(bad), said=f"{len(bad)} noticed") and good
    return good


def check_broken_scale(source: Source, folder: Path, work: Path) -> bool:
    def double(arrays: dict[str, Any]) -> None:
        name = "model.layers.4.block_sparse_moe.experts.6.w1.weight_scale"
        if name in arrays and arrays[name].shape[0] < 64:  # in the files of ranks
            arrays[name] *= 2

    bad = list(wrong(source, spoilt(folder, work / "spoilt-scale", double), 8, 3))
    return say("a scale of one rank doubled", good=bool(bad), said=f"{len(bad)} noticed")


def spoilt(folder: Path, out: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a folder with its arrays changed."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(folder, out)
    for path in out.glob("*.safetensors"):
        arrays = load_file(path)
        change(arrays)
        save_file(arrays, path, {"format": "pt"})
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grokpack", type=Path, required=True, help="a Python that has grokpack")
    parser.add_argument("--work", type=Path, required=True, help="a folder to empty and use")
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)

    def grokpack(*arguments: object) -> None:
        command = [str(args.grokpack), "-m", "grokpack", *map(str, arguments), "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    made = args.work / "made"
    grokpack("synth", made, *(str(w) for n, s in SHAPE.items() for w in (f"--{n}", s)))
    source, folders, good = Source(made), {}, True
    print("parameters as SGLang's loader leaves them")
    for number, (name, ((verb, *options), widths)) in enumerate(FOLDERS.items()):
        folders[name] = args.work / str(number)
        grokpack(verb, made, *options, "-o", folders[name])
        good = check_folder(source, name, folders[name], widths) and good
    good = check_logits(source, folders["hf, names of sglang, f32"]) and good
    print("broken: must be noticed")
    good = check_broken(source, folders["hf, names of sglang, bf16"], args.work) and good
    good = check_broken_scale(source, folders["w8a8-int8 for 8 ranks"], args.work) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
