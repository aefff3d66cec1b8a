"""Load Hugging Face folders with transformers and compare with the reference's logits.

Without `--folder` it makes the folders itself, in every naming, head and dtype, and then breaks
the modelling code in several ways to see that the comparison notices. Run it from the root of the
tree in an environment of `requirements-*.txt`: `python -m tests.oracle.hf.check`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.oracle.forward import forward, load
from tests.oracle.hf.make_folder import NAMINGS, make_folder
from tests.oracle.hf.runs import (
    differing_from_embeddings,
    differing_tokens,
    differing_when_sampled,
    differing_with_fixed_cache,
    in_steps,
    left_padded,
    one_by_one,
    right_padded,
    unlike,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GOLDEN = Path("tests/data/tiny3")
# Largest difference in any logit over the spread of all (3.0 in tiny3). Two float32 programs differ
# by a quarter of it, erf in place of tanh by 24 times as much.
LIMIT = 1e-4
HALF = 0.1  # median row difference over the spread, in arithmetic of 16 bits
SAME = 3e-5  # between two loads of the same files: sums depend on how memory is aligned
ROUNDED = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}

BROKEN = {  # what is wrong -> a line of modeling_grok1.py, and what it becomes
    "erf in GELU": ('approximate="tanh"', 'approximate="none"'),
    "no cap": ("logits = cap * torch.tanh(logits / cap)", "pass"),
    "cap 50": ("cap = self.config.attn_logit_softcapping", "cap = 50.0"),
    "gates renormalized": (
        "mixed = torch.zeros_like(",
        "gates = gates / gates.sum(-1, keepdim=True)\n        mixed = torch.zeros_like(",
    ),
    "RoPE on neighbours": (
        "first, second = x.chunk(2, dim=-1)",
        "first, second = x[..., ::2], x[..., 1::2]",
    ),
    "eps 1e-6": ("self.eps = config.rms_norm_eps", "self.eps = 1e-6"),
    "padding seen": ("shown = ids != self.config.pad_token_id", "shown = ids == ids"),
    "gate and up swapped": ("gated, beside, down =", "beside, gated, down ="),
    "embedding not multiplied": (" * self.config.embedding_multiplier_scale", ""),
}
KV_ORDER = {  # seen only where query heads share key/value heads
    "key/value heads in turn": (
        "q = q.unflatten(1, (self.config.num_key_value_heads, -1))",
        "q = q.unflatten(1, (-1, self.config.num_key_value_heads)).transpose(1, 2)",
    ),
}


@dataclass(frozen=True)
class Case:
    """Prompts and the logits that a folder must give for them."""

    prompts: list[np.ndarray]
    logits: list[np.ndarray]
    stock: list[np.ndarray] | None  # the reference as it runs, in bfloat16
    greedy: np.ndarray | None  # and the tokens it continues the prompts with, i[prompts, tokens]


@dataclass(frozen=True)
class Result:
    """One comparison: what came out, and the most that passes."""

    what: str
    figure: float
    limit: float

    @property
    def good(self) -> bool:
        return self.figure <= self.limit


def golden_case(source: Path) -> Case:
    """The reference's own logits."""
    lengths = json.loads((source / "config.json").read_text(encoding="utf-8"))["prompt_lengths"]
    exact, stock, tokens = (
        [row[:n] for row, n in zip(np.load(source / file), lengths, strict=True)]
        for file in ("logits_exact32.npy", "logits_f32.npy", "tokens.npy")
    )
    greedy = np.load(source / "greedy_tokens.npy").astype(np.int64)
    return Case([t.astype(np.int64) for t in tokens], exact, stock, greedy)


def random_case(source: Path, dtype: str) -> Case:
    """Random prompts, and the logits that numpy computes in double precision.

    Matrices are rounded to `dtype`, as the files have them.
    """
    weights, dims = load(source)
    draw = np.random.default_rng(0)
    prompts = [draw.integers(1, dims["vocab_size"], size) for size in (5, 17, 24)]
    prompts[1][3] = dims["pad_token"]

    def rounded(name: str) -> np.ndarray:
        values = weights(name)
        if "norm" in name or "router" in name:
            return values
        return values.astype(ROUNDED[dtype]).astype(np.float32)

    return Case(prompts, [forward(rounded, dims, p, np.float64) for p in prompts], None, None)


def make_case(source: Path, dtype: str) -> Case:
    golden = (source / "logits_exact32.npy").exists() and dtype == "float32"
    return golden_case(source) if golden else random_case(source, dtype)


def load_model(folder: Path, dtype: str, **options: Any) -> Any:
    """The model, and nothing left over or missing in the files."""
    model, info = AutoModelForCausalLM.from_pretrained(
        folder,
        trust_remote_code=True,
        dtype=getattr(torch, dtype),
        output_loading_info=True,
        **options,
    )
    left = {kind: names for kind, names in info.items() if names}
    assert not left, f"{folder}: {left}"
    return model.eval()


def distance(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Largest difference of a logit over their spread; infinite where one is not a number."""
    worst = np.abs(np.concatenate(ours) - np.concatenate(theirs)).max()
    return float("inf") if np.isnan(worst) else float(worst / np.concatenate(theirs).std())


def check_logits(model: Any, case: Case) -> Iterator[Result]:
    yield Result("each prompt alone", distance(one_by_one(model, case.prompts), case.logits), LIMIT)
    padded = right_padded(model, case.prompts)
    yield Result("in a batch, padded right, no mask", distance(padded, case.logits), LIMIT)
    padded = left_padded(model, case.prompts)
    yield Result("in a batch, padded left", distance(padded, case.logits), LIMIT)
    steps = in_steps(model, case.prompts)
    yield Result("half, then token by token, cached", distance(steps, case.logits), LIMIT)


def check_generation(model: Any, case: Case) -> Iterator[Result]:
    yield Result("greedy tokens unlike argmax", differing_tokens(model, case.prompts), 0)
    figure = differing_when_sampled(model, case.prompts)
    yield Result("sampled tokens unlike those without cache", figure, 0)
    if case.greedy is not None:  # bfloat16, so that a few tokens are anybody's
        figure = unlike(model, case.prompts, case.greedy)
        yield Result("share of the reference's greedy tokens not ours", figure, 0.03)
    figure = differing_with_fixed_cache(model, case.prompts)
    yield Result("greedy tokens unlike those of a static cache", figure, 0)
    figure = differing_from_embeddings(model, case.prompts)
    yield Result("greedy tokens unlike those from embeddings", figure, 0)


def check_other_loads(folder: Path, dtype: str, model: Any, case: Case) -> Iterator[Result]:
    """Saved and loaded again; placed by accelerate; read from disk layer by layer."""
    ours = one_by_one(model, case.prompts)
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch, f"{folder.name}-saved")
        model.save_pretrained(saved)
        changed = _differing(_config(folder), _config(saved), _KEPT)
        yield Result("keys of config.json changed by saving", changed, 0)
        before, after = _state(folder), _state(saved)
        yield Result("tensors changed by saving", _differing(before, after, {*before, *after}), 0)
        again = one_by_one(load_model(saved, dtype), case.prompts)
        yield Result("saved and loaded again", distance(again, ours), SAME)
        auto = one_by_one(load_model(folder, dtype, device_map="auto"), case.prompts)
        yield Result('device_map="auto"', distance(auto, ours), SAME)
        if dtype != "float32" and transformers.__version__ < "5":
            return  # which rounds all that it leaves on disk, the router too
        places = dict(_places(model))
        disk = load_model(folder, dtype, device_map=places, offload_folder=Path(scratch, "disk"))
        yield Result("layers left on disk", distance(one_by_one(disk, case.prompts), ours), SAME)


_KEPT = ("architectures", "auto_map", "model_type", "num_local_experts", "head_dim", "rope_theta")


def _differing(before: dict[str, Any], after: dict[str, Any], keys: Iterable[str]) -> int:
    """Keys that only one has, or whose values differ."""
    return sum(not _same(before.get(key), after.get(key)) for key in keys)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other


def _state(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor in the folder's files."""
    files = (load_file(path) for path in sorted(folder.glob("*.safetensors")))
    return {name: values for state in files for name, values in state.items()}


def _config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def _places(model: Any) -> Iterator[tuple[str, str]]:
    """A device map: layers on disk, the rest in memory."""
    yield "lm_head", "cpu"
    for name, part in model.trunk.named_children():
        path = f"{model.base_model_prefix}.{name}"
        if isinstance(part, torch.nn.ModuleList):
            yield from ((f"{path}.{number}", "disk") for number in range(len(part)))
        else:
            yield path, "cpu"


def check_half(folder: Path, dtype: str, case: Case) -> Iterator[Result]:
    """Arithmetic in 16 bits: against exact logits and against the reference as it runs."""
    model = load_model(folder, dtype)
    kept = {"norm", "gate", "router"}
    wrong = [
        name
        for name, values in model.named_parameters()
        if (values.dtype == torch.float32) != any(word in name for word in kept)
    ]
    yield Result("parameters of the wrong dtype", len(wrong), 0)
    ours = one_by_one(model, case.prompts)
    for what, theirs in (("exact", case.logits), ("reference's bfloat16", case.stock)):
        if theirs is None:
            continue
        spread = np.std(np.concatenate(theirs))
        rows = np.concatenate([np.abs(a - b).max(-1) for a, b in zip(ours, theirs, strict=True)])
        best = [a.argmax(-1) != b.argmax(-1) for a, b in zip(ours, theirs, strict=True)]
        yield Result(f"{what}: median row difference / spread", np.median(rows) / spread, HALF)
        yield Result(f"{what}: other best tokens", np.concatenate(best).mean(), 0.1)
    model.generation_config.eos_token_id = None
    generated = model.generate(torch.from_numpy(case.prompts[0])[None], max_new_tokens=4)
    yield Result("tokens not generated", len(case.prompts[0]) + 4 - generated.shape[1], 0)


def check_folder(folder: Path, source: Path) -> Iterator[Result]:
    """Everything that a folder's dtype allows to be checked."""
    config = _config(folder)
    dtype = config.get("dtype") or config["torch_dtype"]
    case = make_case(source, dtype)
    model = load_model(folder, "float32")
    yield from check_logits(model, case)
    yield from check_generation(model, case)
    if dtype != "float32":
        yield from check_half(folder, dtype, make_case(source, "float32"))
        model = load_model(folder, dtype)
    yield from check_other_loads(folder, dtype, model, case)


def report(title: str, results: Iterator[Result]) -> bool:
    """Print a table; whether all is good."""
    print(f"\n{title}", flush=True)
    good = True
    for result in results:
        mark = "ok  " if result.good else "FAIL"
        print(f"  {mark} {result.what:50} {result.figure:9.2g}  <= {result.limit:g}", flush=True)
        good = good and result.good
    return good


def unnoticed(source: Path, scratch: Path) -> Iterator[str]:
    """Ways to break the code that a comparison of logits does not see."""
    dims = load(source)[1]
    shared = dims["num_q_heads"] > dims["num_kv_heads"]
    for number, (what, (line, instead)) in enumerate((KV_ORDER if shared else BROKEN).items()):
        folder = make_folder(source, scratch / f"broken{number}", "hpcai", "float32", tied=True)
        code = folder / "modeling_grok1.py"
        text = code.read_text(encoding="utf-8")
        assert text.count(line) == 1, f"{what}: no longer one place to break"
        code.write_text(text.replace(line, instead), encoding="utf-8")
        # A process of its own: transformers 5 would go on using the class it loaded first.
        command = [sys.executable, "-m", __spec__.name, "--logits", "--folder", folder]
        run = subprocess.run(
            [*command, "--source", source], capture_output=True, text=True, check=False
        )
        figure = next((line for line in run.stdout.splitlines() if "alone" in line), run.stderr)
        noticed = run.returncode == 1 and "FAIL" in run.stdout
        print(f"  {'ok  ' if noticed else 'FAIL'} {what:25} {figure.strip()}", flush=True)
        if not noticed:
            yield what


def check_made_folders(source: Path) -> bool:
    """Folders made here, of the golden in every naming, head and dtype; then broken ones."""
    good = True
    kinds = list(product(NAMINGS, (True, False), ("float32",)))
    kinds += product(NAMINGS, (True,), ("bfloat16",))
    if source != GOLDEN:
        kinds = [("hpcai", True, "float32"), ("hpcai", True, "bfloat16")]
    with tempfile.TemporaryDirectory() as scratch:
        for naming, tied, dtype in kinds:
            name = f"{naming}-{'tied' if tied else 'head'}-{dtype}"
            folder = make_folder(source, Path(scratch, name), naming, dtype, tied=tied)
            good = report(name, check_folder(folder, source)) and good
        print("\nbroken code")
        return not list(unnoticed(source, Path(scratch))) and good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=GOLDEN, help="a ckpt-0 checkpoint")
    parser.add_argument("--folder", type=Path, action="append", help="converted from it")
    parser.add_argument("--logits", action="store_true", help="compare float32 logits only")
    args = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, {args.source}")
    good = bool(args.folder) or check_made_folders(args.source)
    for folder in args.folder or ():
        if args.logits:
            model, case = load_model(folder, "float32"), make_case(args.source, "float32")
            results = check_logits(model, case)
        else:
            results = check_folder(folder, args.source)
        good = report(str(folder), results) and good
    print("\nall agree" if good else "\nnot all agree: see FAIL above")
    return 0 if good else 1


if __name__ == "__main__":
    with torch.no_grad():
        sys.exit(main())
