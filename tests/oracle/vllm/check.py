"""Folders of hpcai-tech's names in vLLM 0.24, the last with Grok-1, against the network in numpy.

python -m tests.oracle.vllm.check SOURCE FOLDER... : SOURCE is a ckpt-0 checkpoint, each FOLDER was
converted from it. vLLM runs in a process of its own for each.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import ml_dtypes
import numpy as np

from tests.oracle import forward
from tests.oracle.vllm.running import Array, prompts, run_vllm, verdict

LIMIT = 5e-5  # of a log probability: float32 against float64; 1.4e-6 was measured
LIMIT_BF16 = 0.15  # of the spread of the logits, median over tokens, with bfloat16 arithmetic
BROKEN = {  # keys of config.json that turn vLLM's own defaults off, or state what it computes with
    "router and gates as vLLM has them": {
        "router_logit_softcapping": None,
        "moe_router_renormalize": None,
    },
    "rotary base 100000": {"rope_theta": 100000.0},
    "embedding multiplied by 1": {"embedding_multiplier_scale": 1.0},
}


def in_numpy(source: Path, ids: list[list[int]], *, bfloat16: bool, as_vllm: bool) -> Array:
    """Logits `f[token, vocab]`.

    Args:
        source: A ckpt-0 checkpoint.
        ids: Prompts.
        bfloat16: Matrices and embedding rounded, as in a bf16 folder.
        as_vllm: With what vLLM's own code does otherwise: erf in GELU, and attention's output
            multiplied once more by the softmax scale, which its norm takes out but for epsilon.
    """
    weights, config = forward.load(source)
    kept: dict[str, Array] = {}

    def weight(name: str) -> Array:
        if name not in kept:
            kept[name] = weights(name)
            if bfloat16 and "rms_norm" not in name and "router" not in name:
                kept[name] = kept[name].astype(ml_dtypes.bfloat16).astype(np.float32)
        return kept[name]

    return network(weight, config, ids, as_vllm=as_vllm)


def network(
    weights: forward.Weights, config: dict[str, Any], ids: list[list[int]], *, as_vllm: bool
) -> Array:
    """Logits `f[token, vocab]` of these weights; see `in_numpy`."""
    attend, scale = forward.attend, config["attn_output_multiplier"]
    code: dict[str, Any] = {"gelu": forward.gelu, "attend": attend}
    if as_vllm:
        code = {"gelu": forward.erf_gelu, "attend": lambda *given: attend(*given) * scale}
    with mock.patch.multiple(forward, **code):
        rows = [forward.forward(weights, config, np.array(one), np.float64) for one in ids]
    return np.concatenate(rows)


def check(folder: Path, source: Path, ids: list[list[int]]) -> bool:
    """Compare a folder in float32 arithmetic, and a bf16 one in bfloat16 as well."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    rounded = config["torch_dtype"] == "bfloat16"
    spread = float(in_numpy(source, ids, bfloat16=rounded, as_vllm=False).std())
    wanted = {
        theirs: forward.log_softmax(in_numpy(source, ids, bfloat16=rounded, as_vllm=theirs))
        for theirs in (True, False)
    }
    found = run_vllm(folder, "float32")
    worst = np.abs(found - wanted[True]).max(axis=-1)
    reference = np.abs(found - wanted[False]).max(axis=-1)
    good = bool(worst.max() < LIMIT)
    print(
        f"  {verdict(good)} {folder.name}, float32 arithmetic: at most {worst.max():.1e}; "
        f"from xAI's network {np.median(reference):.1e} (median over tokens), spread {spread:.2f}",
        flush=True,
    )
    if rounded:
        worst = np.abs(run_vllm(folder, "bfloat16") - wanted[False]).max(axis=-1)
        share = float(np.median(worst)) / spread
        fits = share < LIMIT_BF16
        print(
            f"  {verdict(fits)} {folder.name}, bfloat16 arithmetic: {share:.3f} of the spread",
            flush=True,
        )
        good = good and fits
    return good


def unnoticed(folder: Path, source: Path, ids: list[list[int]]) -> Iterator[str]:
    """Changes to config.json that the comparison does not notice; each must be."""
    wanted = forward.log_softmax(in_numpy(source, ids, bfloat16=False, as_vllm=True))
    for what, changes in BROKEN.items():
        with tempfile.TemporaryDirectory() as scratch:
            broken = Path(scratch, "broken")
            broken.mkdir()
            for path in folder.iterdir():
                (broken / path.name).symlink_to(path.resolve())
            config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
            (broken / "config.json").unlink()
            text = json.dumps({key: value for key, value in config.items() if value is not None})
            (broken / "config.json").write_text(text, encoding="utf-8")
            worst = float(np.abs(run_vllm(broken, "float32") - wanted).max())
        print(f"  {verdict(worst > LIMIT)} {what}: {worst:.1e}", flush=True)
        if worst <= LIMIT:
            yield what


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("folders", type=Path, nargs="+", help="the first of them float32")
    args = parser.parse_args()
    ids = prompts(forward.load(args.source)[1]["vocab_size"])
    good = [check(folder, args.source, ids) for folder in args.folders]
    print("broken")
    return 0 if not list(unnoticed(args.folders[0], args.source, ids)) and all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
