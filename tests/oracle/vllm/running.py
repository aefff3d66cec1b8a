"""vLLM on a folder, in a process of its own.

python -m tests.oracle.vllm.running FOLDER DTYPE OUT
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

Array = np.ndarray
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


def run_vllm(folder: Path, dtype: str) -> Array:
    """`in_vllm` in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "found.npy")
        done = subprocess.run(
            [sys.executable, "-m", __spec__.name, str(folder), dtype, str(out)],
            env=os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"vLLM failed on {folder}:\n{done.stderr[-4000:]}")
        found: Array = np.load(out)
        return found


def verdict(good: bool) -> str:
    return "ok  " if good else "FAIL"


if __name__ == "__main__":
    np.save(sys.argv[3], in_vllm(Path(sys.argv[1]), sys.argv[2]))
