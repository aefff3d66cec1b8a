"""What is measured of a file that llama.cpp loads, and the lines that report it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tests.oracle.forward import Array, Weights, forward, log_softmax
from tests.oracle.llama.model import Model

if TYPE_CHECKING:
    from pathlib import Path

    from tests.oracle.llama.checkpoints import Source

Figures = tuple[float, float, float]
ANY = float("inf")


def as_llama(weights: Weights, config: dict[str, Any], tokens: Array) -> Array:
    """Logits in double precision, with gates renormalized, as llama.cpp does.

    Its norm behind the experts undoes that but for eps, which counts where their output is small.
    """
    return forward(weights, config, tokens, np.float64, renormalized=True)


def logits(path: Path, prompts: list[Array]) -> list[Array]:
    """What llama.cpp computes from a file."""
    with Model(path) as model:
        return [model.logits(prompt) for prompt in prompts]


def distances(ours: list[Array], theirs: list[Array]) -> Figures:
    """Largest differences of a token's logits over the spread: of a quarter, half, all tokens."""
    exact = np.concatenate(theirs)
    rows = np.abs(np.concatenate(ours) - exact).max(-1) / exact.std()
    if np.isnan(rows).any():
        return ANY, ANY, ANY
    quarter, half, whole = np.quantile(rows, (0.25, 0.5, 1))
    return float(quarter), float(half), float(whole)


def measure(path: Path, source: Source) -> Figures:
    return distances(logits(path, source.prompts), source.logits)


def divergence(exact: list[Array], ours: list[Array]) -> Array:
    """KL divergence of each token's distribution from the exact one, in nats."""
    p, q = (log_softmax(np.concatenate(rows).astype(np.float64)) for rows in (exact, ours))
    found: Array = (np.exp(p) * (p - q)).sum(-1)
    return found


class Report:
    """Prints lines of a table, and remembers whether all were good."""

    def __init__(self) -> None:
        self.good = True

    def title(self, text: str) -> None:
        print(f"\n{text}", flush=True)

    def line(self, what: str, *, good: bool, said: str = "") -> None:
        print(f"  {'ok  ' if good else 'FAIL'} {what:46} {said}", flush=True)
        self.good = self.good and good

    def within(self, what: str, found: Figures, limits: Figures) -> None:
        good = all(a <= b for a, b in zip(found, limits, strict=True))
        self.line(what, good=good, said=_shown(found, limits))

    def farther(self, what: str, found: Figures, near: Figures) -> None:
        good = all(a > b for a, b in zip(found, near, strict=True))
        self.line(what, good=good, said=_shown(found, near))

    def noticed(self, what: str, found: Figures, limits: Figures) -> None:
        good = any(a > b for a, b in zip(found, limits, strict=True))
        self.line(what, good=good, said=_shown(found, limits))


def _shown(found: Figures, limits: Figures) -> str:
    return "  ".join(f"{a:7.2g} ({b:.2g})" for a, b in zip(found, limits, strict=True))
