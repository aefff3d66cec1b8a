"""Checkpoints with the logits of xAI's code, and how far other logits are from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

EXACT = 2e-4  # largest change of a logit (their spread is 0.5 to 3) from the order of float32 sums
NOISE = 0.5  # median over rows: what bf16 activations change between two widths
WRONG = 0.01  # median over rows that a wrong checkpoint must exceed

_NAMES = {"stock": "logits_f32", "f32": "logits_fprop32", "exact": "logits_exact32"}


@dataclass(frozen=True)
class Golden:
    """A checkpoint and the logits of xAI's code.

    Attributes:
        folder: Holds ckpt-0, config.json, tokens.npy and the logits.
        widths: Widths that xAI's code can run it at.
        newer: Whether an ml_dtypes newer than the release's wrote it (and so must read it).
    """

    folder: Path
    widths: tuple[int, ...]
    newer: bool = False

    @property
    def lengths(self) -> list[int]:
        """Lengths of the prompts in tokens.npy."""
        config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        return list(config["prompt_lengths"])

    def logits(self, mode: str) -> np.ndarray:
        """What xAI's code answered, `f32[prompts, T, vocab]`."""
        return np.asarray(np.load(self.folder / f"{_NAMES[mode]}.npy"))

    def difference(self, one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
        """Median over rows of the largest change of a logit, and the largest of all; no padding."""
        change = np.abs(one - other).max(-1)
        rows = np.concatenate([change[i, :n] for i, n in enumerate(self.lengths)])
        return float(np.median(rows)), float(rows.max())
