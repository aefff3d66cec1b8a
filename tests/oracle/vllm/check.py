"""Folders of hpcai-tech's names in vLLM 0.24, the last with Grok-1, against the network in numpy.

python -m tests.oracle.vllm.check SOURCE FOLDER... : SOURCE is a ckpt-0 checkpoint, each FOLDER was
converted from it. vLLM runs in a process of its own for each.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import ml_dtypes
import numpy as np

from tests.oracle import forward
from tests.oracle.vllm.running import Array, Job, computed, prompts, run_vllm, verdict

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


def jobs_of(folder: Path) -> list[Job]:
    """Return a folder in float32 arithmetic, and a bf16 one in bfloat16 as well."""
    return [(folder, dtype) for dtype in ("float32", *(["bfloat16"] if rounded(folder) else []))]


def rounded(folder: Path) -> bool:
    """Tell whether the files are bfloat16."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return bool(config["torch_dtype"] == "bfloat16")


def check(job: Job, found: Array, source: Path, ids: list[list[int]]) -> bool:
    """Compare what vLLM computes from a folder."""
    folder, dtype = job
    bfloat16 = rounded(folder)
    logits = {
        as_vllm: in_numpy(source, ids, bfloat16=bfloat16, as_vllm=as_vllm)
        for as_vllm in (True, False)
    }
    spread = float(logits[False].std())
    worst, reference = (
        np.abs(found - forward.log_softmax(logits[as_vllm])).max(axis=-1)
        for as_vllm in (True, False)
    )
    share = float(np.median(reference)) / spread
    if dtype == "float32":
        good = bool(worst.max() < LIMIT)
        said = f"at most {worst.max():.1e}; from xAI's network {share * spread:.1e} (median over "
        said += f"tokens), spread {spread:.2f}"
    else:
        good, said = share < LIMIT_BF16, f"{share:.3f} of the spread"
    print(f"  {verdict(good)} {folder.name}, {dtype} arithmetic: {said}", flush=True)
    return good


def broken(folder: Path, work: Path, changes: dict[str, Any]) -> Path:
    """Return a copy of a folder with other keys in config.json; without those that are None."""
    work.mkdir()
    for path in folder.iterdir():
        (work / path.name).symlink_to(path.resolve())
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
    (work / "config.json").unlink()
    text = json.dumps({key: value for key, value in config.items() if value is not None})
    (work / "config.json").write_text(text, encoding="utf-8")
    return work


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("folders", type=Path, nargs="+", help="the first of them float32")
    args = parser.parse_args()
    source, whole = args.source, args.folders[0]
    ids = prompts(forward.load(source)[1]["vocab_size"])
    jobs = [job for folder in args.folders for job in jobs_of(folder)]
    with tempfile.TemporaryDirectory() as scratch:
        spoilt = [
            (broken(whole, Path(scratch, str(number)), changes), "float32")
            for number, changes in enumerate(BROKEN.values())
        ]
        found = [computed(one) for one in run_vllm([*jobs, *spoilt])]
    good = [check(job, one, source, ids) for job, one in zip(jobs, found, strict=False)]
    print("broken")
    wanted = forward.log_softmax(in_numpy(source, ids, bfloat16=False, as_vllm=True))
    for what, one in zip(BROKEN, found[len(jobs) :], strict=True):
        worst = float(np.abs(one - wanted).max())
        good.append(worst > LIMIT)
        print(f"  {verdict(good[-1])} {what}: {worst:.1e}", flush=True)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
