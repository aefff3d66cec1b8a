"""Let xAI's code load what `grokpack quantize --to ckpt-0` writes: int8 again, in other groups.

What is expected is computed here, by `../forward.py` in float32 from the codes and scales in the
files: its loader and its formula share nothing with grokpack.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.oracle import forward
from tests.oracle.jax.goldens import EXACT, NOISE

if TYPE_CHECKING:
    from tests.oracle.jax.check import Check
    from tests.oracle.jax.goldens import Golden

SEEN = 1e-3  # median over rows: what other weights must change, or the comparison shows nothing
HALF_STEP = 0.501  # in scales: codes are rounded to nearest
STEP = 1.0  # in scales, at the ends of int8: a scale is (largest / 127.5), rounded once to bf16
CUT_BY_ROWS = ("moe/linear_1/w", "multi_head_attention/linear/w")
BF16 = 2.0**-8  # relative error of one rounding


@dataclass(frozen=True)
class Case:
    """One `grokpack quantize --bits 8 --to ckpt-0`.

    Attributes:
        name: Of the output.
        source: Folder that is quantized.
        exact: Folder in ckpt-0 with the weights that the source has, but for `rounded`.
        width: Ranks.
        options: Further options.
        rounded: Whether the source has been rounded to bf16.
    """

    name: str
    source: Path
    exact: Path
    width: int
    options: tuple[str, ...] = ()
    rounded: bool = False


def check_requantized(check: Check, golden: Golden, case: Case, *, stock: bool = False) -> None:
    """Quantize, load, compare; `stock` as released too, with activations in bf16."""
    command = ["quantize", str(case.source), "--bits", "8", "--to", "ckpt-0"]
    out = check.write(case.name, *command, "--tp", str(case.width), *case.options)
    _judge_weights(check, case, out)
    wanted = logits(golden, out)
    found = check.logits_of(golden, out, case.width, "exact")
    what = f"{case.name}: by numpy, {case.width} devices"
    check.judge_logits(golden, what, found, wanted, EXACT)
    _judge_power(check, golden, case, out, found)
    if stock:
        found = check.logits_of(golden, out, case.width, "stock")
        check.judge_logits(golden, f"{what}, stock", found, wanted, NOISE)


def logits(golden: Golden, folder: Path, weights: forward.Weights | None = None) -> np.ndarray:
    """Logits `f32[prompts, T, vocab]` of a checkpoint by `../forward.py`; zeros behind prompts."""
    own, config = forward.load(folder)
    tokens = np.load(golden.folder / "tokens.npy")
    found = np.zeros((*tokens.shape, config["vocab_size"]), np.float32)
    for row, length in enumerate(golden.lengths):
        found[row, :length] = forward.forward(weights or own, config, tokens[row, :length])
    return found


def _files(folder: Path) -> dict[str, Path]:
    layers = json.loads((folder / "config.json").read_text(encoding="utf-8"))["num_layers"]
    return forward.files(folder / "ckpt-0", layers)


def _judge_weights(check: Check, case: Case, out: Path) -> None:
    """Every weight is the source's to half a step; what is not quantized is the source's."""
    exact = _files(case.exact)
    anew, inside, end, right = 0, 0.0, 0.0, True
    for name, path in _files(out).items():
        codes, scales = forward.stored(path)
        source = forward.read(exact[name])
        error = np.abs(forward.read(path) - source)
        rounding = BF16 * np.abs(source)
        if case.rounded:
            error = np.maximum(error - rounding, 0)
        if scales is None:
            right = right and not error.any()
        elif codes.dtype != np.int8:  # kept, with scales of one
            right = right and bool((error <= rounding).all())
        elif error.any():
            steps = np.abs(np.float32(scales))
            errors = error / np.repeat(steps, codes.shape[-2] // scales.shape[-2], axis=-2)
            ends = (codes == -128) | (codes == 127)
            inside = max(inside, float(errors[~ends].max(initial=0)))
            end = max(end, float(errors[ends].max(initial=0)))
            anew += 1
            right = right and scales.shape[-2] == (case.width if name.endswith(CUT_BY_ROWS) else 1)
    right = right and anew > 0 and inside <= HALF_STEP and end <= STEP
    words = f"{anew} anew, off by {inside:.3f} of a step, at the ends of int8 {end:.3f}"
    check.judge(f"{case.name}: weights are the source's", words, right=right)


def _judge_power(check: Check, golden: Golden, case: Case, out: Path, found: np.ndarray) -> None:
    """The source's own logits, and those with groups read in reverse, are seen to be others."""
    where = _files(out)

    def turned(name: str) -> np.ndarray:
        codes, scales = forward.stored(where[name])
        if scales is None:
            return np.asarray(codes, np.float32)
        steps = np.repeat(np.float32(scales)[..., ::-1, :], codes.shape[-2] // scales.shape[-2], -2)
        return np.asarray(codes, np.float32) * steps

    source, _ = golden.difference(found, logits(golden, case.exact))
    groups, _ = golden.difference(found, logits(golden, out, turned))
    words = f"median {source:.1e}, groups reversed {groups:.1e}"
    right = min(source, groups) > SEEN
    check.judge(f"{case.name}: unlike the source's logits", words, right=right)
