"""Whole folders, loaded by transformers: what each module became, and the logits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.utils.match import match_name
from transformers import AutoModelForCausalLM

from tests.oracle import forward
from tests.oracle.ct.codec import tensor
from tests.oracle.ct.results import Result
from tests.oracle.hf.runs import one_by_one

if TYPE_CHECKING:
    from tests.oracle.ct.folders import Folder

# Largest difference in any logit over the spread of all; see tests/oracle/hf/check.py.
LIMIT = 1e-4
HALF = {
    "float16": 0.1,
    "bfloat16": 0.1,
}  # median row difference over the spread, in arithmetic of 16 bits
FAR = 0.3  # relative error; int4 leaves 0.1

Prompts = list[np.ndarray]


def check_model(folder: Folder) -> Iterator[Result]:
    """Load in float32 and compare everything."""
    model, left = load(folder, torch.float32)
    yield Result("names missing, unexpected or of other shapes", left)
    yield from check_modules(folder, model)
    prompts = prompts_of(folder.source)
    ours = one_by_one(model, prompts)
    yield from check_values(folder, model)
    weights, dims = folder.weights(), forward.load(folder.source)[1]
    decoded = [forward.forward(weights, dims, p, np.float64) for p in prompts]
    yield Result("logits unlike those of our decoded weights", distance(ours, decoded), LIMIT)
    exact = exact_logits(folder.source)
    lost = divergence(exact, ours)
    yield Result("KL from unquantized, mean", float(lost.mean()), None)
    yield Result("p99", float(np.quantile(lost, 0.99)), None)
    other = np.concatenate([a.argmax(-1) != b.argmax(-1) for a, b in zip(exact, ours, strict=True)])
    yield Result("other best token", float(other.mean()), None)


def check_default(folder: Folder) -> Iterator[Result]:
    """Load as a user does who names no dtype: arithmetic in 16 bits."""
    model, left = load(folder, None)
    yield Result("names missing, unexpected or of other shapes", left)
    prompts = prompts_of(folder.source)
    ours = one_by_one(model, prompts)
    weights, dims = folder.weights(), forward.load(folder.source)[1]
    decoded = [forward.forward(weights, dims, p, np.float64) for p in prompts]
    spread = np.concatenate(decoded).std()
    rows = [np.abs(a - b).max(-1) for a, b in zip(ours, decoded, strict=True)]
    kind = str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")
    figure = float(np.median(np.concatenate(rows)) / spread)
    yield Result(f"median row difference / spread, {kind}", figure, HALF.get(kind, 0))
    wrong = sum(p.dtype != torch.float32 for n, p in model.named_parameters() if _precise(n))
    yield Result("routers and norms not in float32", wrong)


def loads_zero_points() -> bool:
    """Whether this compressed-tensors makes room for zero points as it packs them.

    0.20.0 does not: a module that waits for its arrays has them unpacked, and transformers refuses
    the files.
    """
    args = QuantizationArgs(num_bits=4, symmetric=False, strategy="group", group_size=32)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    shapes = []
    for device in ("cpu", "meta"):
        state = {
            "weight": torch.zeros(64, 64, device=device),
            "weight_scale": torch.ones(64, 2, device=device),
            "weight_zero_point": torch.zeros(64, 2, dtype=torch.int8, device=device),
        }
        packed = PackedQuantizationCompressor.compress(state, scheme)
        shapes.append(packed["weight_zero_point"].shape)
    return shapes[0] == shapes[1]


def load(folder: Folder, dtype: torch.dtype | None) -> tuple[Any, int]:
    """The model, and how many names of its files or its own were left over."""
    model, info = AutoModelForCausalLM.from_pretrained(
        folder.path,
        trust_remote_code=True,
        output_loading_info=True,
        **({} if dtype is None else {"dtype": dtype}),
    )
    return model.eval(), sum(len(names) for names in info.values() if names)


def check_modules(folder: Folder, model: Any) -> Iterator[Result]:
    """Which modules wait for packed weights, and which pattern says so."""
    linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    waiting = {name for name, module in linear.items() if hasattr(module, "quantization_scheme")}
    stored = {part.module for part in folder.parts() if folder.packed(part.module)}
    yield Result("modules quantized in the model or the files only", len(waiting ^ stored))
    yield Result("other modules that are quantized", len(_quantized(model) - waiting))
    schemes = {name: linear[name].quantization_scheme.weights for name in waiting & stored}
    wrong = sum(args.num_bits != folder.bits(name) for name, args in schemes.items())
    yield Result("modules of other bits than their files", wrong)
    config = folder.quantization
    hit = {pattern: {n for n in linear if match_name(n, pattern)} for pattern in config["ignore"]}
    yield Result("patterns of `ignore` that hit nothing", sum(not names for names in hit.values()))
    spared = set().union(*hit.values())
    yield Result(
        "modules that `ignore` hits wrongly or misses", len(spared ^ (set(linear) - stored))
    )
    named = [t for g in config["config_groups"].values() for t in g["targets"] if t != "Linear"]
    hits = [{n for n in linear if match_name(n, pattern)} for pattern in named]
    yield Result("targets that hit nothing", sum(not names for names in hits))
    yield Result("modules hit twice", sum(map(len, hits)) - len(set().union(*hits)))


def check_values(folder: Folder, model: Any) -> Iterator[Result]:
    """Decompressed weights against the second formula; everything else as it is in the files."""
    parameters = dict(model.named_parameters())
    unlike = absent = far = 0
    for part in folder.parts():
        wanted = torch.from_numpy(folder.matrix(part.module)).float()
        own = parameters.get(f"{part.module}.weight")
        absent += own is None
        unlike += own is not None and not torch.equal(own, wanted)
        lost = np.linalg.norm(wanted.numpy() - part.exact)
        far += not lost <= FAR * np.linalg.norm(part.exact)
    yield Result("weights that are not there after the first forward", absent)
    yield Result("weights decompressed otherwise", unlike)
    yield Result("weights far from the exact ones", far)
    plain = {n: a for n, a in folder.arrays.items() if n.endswith((".weight", ".scale"))}
    changed = sum(
        name not in parameters or not torch.equal(parameters[name], tensor(array).float())
        for name, array in plain.items()
    )
    yield Result("routers, norms, embedding and kept weights changed", changed)
    half = sum(array.dtype != np.float32 for name, array in plain.items() if _precise(name))
    yield Result("routers and norms not float32 in the files", half)
    head = model.get_output_embeddings().weight
    embedding = model.get_input_embeddings().weight
    yield Result("head unlike the embedding", int(not torch.equal(head, embedding)))


def _precise(name: str) -> bool:
    return "norm" in name or "gate." in name or "router." in name


def _quantized(model: Any) -> set[str]:
    return {n for n, m in model.named_modules() if getattr(m, "quantization_scheme", None)}


@cache
def prompts_of(source: Path) -> Prompts:
    """The golden's prompts, or random ones."""
    weights, dims = forward.load(source)
    del weights
    if (source / "tokens.npy").exists():
        lengths = forward.find_config(source)["prompt_lengths"]
        rows = np.load(source / "tokens.npy").astype(np.int64)
        return [row[:n] for row, n in zip(rows, lengths, strict=True)]
    draw = np.random.default_rng(0)
    return [draw.integers(1, dims["vocab_size"], size) for size in (5, 17, 64, 64, 64)]


@cache
def exact_logits(source: Path) -> list[np.ndarray]:
    """Logits of the weights as released."""
    weights, dims = forward.load(source)
    return [forward.forward(weights, dims, p, np.float64) for p in prompts_of(source)]


def distance(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Largest difference of a logit over their spread; infinite where one is not a number."""
    worst = np.abs(np.concatenate(ours) - np.concatenate(theirs)).max()
    return float("inf") if np.isnan(worst) else float(worst / np.concatenate(theirs).std())


def divergence(exact: list[np.ndarray], ours: list[np.ndarray]) -> np.ndarray:
    """KL divergence of each token's distribution from the exact one, in nats."""
    p, q = (forward.log_softmax(np.concatenate(rows).astype(np.float64)) for rows in (exact, ours))
    return (np.exp(p) * (p - q)).sum(-1)
