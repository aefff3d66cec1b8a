"""vLLM on folders, in one process for many: it takes long to start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np

Array = np.ndarray
Job = tuple[Path, str]
JOBS = "jobs.json"
LENGTHS = (1, 7, 40, 64)


def prompts(vocab: int) -> list[list[int]]:
    """Token ids without the three that mean something."""
    chance = np.random.default_rng(1)
    return [chance.integers(3, vocab, length).tolist() for length in LENGTHS]


def in_vllm(folder: Path, dtype: str) -> Array:
    """Log probabilities `f[token, vocab]` of all prompts, one after the other."""
    from vllm import LLM, SamplingParams

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    vocab = config["vocab_size"]
    model = LLM(
        model=str(folder),
        skip_tokenizer_init=True,
        trust_remote_code=True,
        dtype=dtype,
        enforce_eager=True,
        max_model_len=2 * max(LENGTHS),
        max_logprobs=-1,
        enable_prefix_caching=False,
    )
    asked = SamplingParams(
        max_tokens=1, temperature=0, prompt_logprobs=-1, logprobs=-1, detokenize=False
    )
    rows = []
    for done in model.generate([{"prompt_token_ids": one} for one in prompts(vocab)], asked):
        assert done.prompt_logprobs is not None
        rows += [*done.prompt_logprobs[1:], done.outputs[0].logprobs[0]]
    return np.array([[row[token].logprob for token in range(vocab)] for row in rows])


def run_vllm(jobs: Sequence[Job], *, stand_in: bool = False) -> list[Array | str]:
    """Run vLLM on one folder after another, in a process of its own.

    Args:
        jobs: Folders, and the dtype of the arithmetic for each.
        stand_in: With the kernels of standin.py.

    Returns:
        Log probabilities of each, or what vLLM said where it failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        work, words = Path(scratch), [[str(folder), dtype] for folder, dtype in jobs]
        (work / JOBS).write_text(json.dumps(words), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", __name__, scratch, *(["--stand-in"] if stand_in else [])],
            env=os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"vLLM failed:\n{done.stderr[-4000:]}")
        return [_result(work / str(number)) for number in range(len(jobs))]


def _result(made: Path) -> Array | str:
    failed = made.with_suffix(".txt")
    return failed.read_text("utf-8") if failed.exists() else np.load(made.with_suffix(".npy"))


def computed(found: Array | str) -> Array:
    """Return log probabilities; what vLLM said instead ends the check."""
    if isinstance(found, str):
        sys.exit(f"vLLM failed:\n{found[-4000:]}")
    return found


def _run_here(work: Path, *, stand_in: bool) -> None:
    """Write what vLLM computes of each folder as `NUMBER.npy`, or why not as `NUMBER.txt`."""
    from vllm.distributed import cleanup_dist_env_and_memory

    if stand_in:
        from tests.oracle.vllm import standin

        standin.use()
    for number, (folder, dtype) in enumerate(json.loads((work / JOBS).read_text("utf-8"))):
        try:
            np.save(work / f"{number}.npy", in_vllm(Path(folder), dtype))
        except Exception:  # noqa: BLE001  # whatever it is, it is what vLLM says
            (work / f"{number}.txt").write_text(traceback.format_exc(), encoding="utf-8")
        cleanup_dist_env_and_memory()


def verdict(good: bool) -> str:
    return "ok  " if good else "FAIL"


if __name__ == "__main__":
    _run_here(Path(sys.argv[1]), stand_in="--stand-in" in sys.argv[2:])
