"""Results in a notebook: a line, or a small table, whatever they hold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from grokpack.evaluation.candidate_evaluation import CandidateDistance, CandidatesEvaluation, Size
from grokpack.evaluation.pair_evaluation import PairEvaluation
from grokpack.evaluation.results import Evaluation, Loss
from grokpack.execution.run import Outcome

LOSS = Loss(1000, math.log(20.0), 0.01, 0.5)
DISTANCE = "KL divergence 0.25 nats, likeliest token agrees 75.00%"
KL = np.full(1000, 0.25)
NONE: Any = ()
ALONE = Evaluation(LOSS, KL, NONE, 1000, 5_000_000, 1.5)
PAIR = PairEvaluation(LOSS, LOSS, KL, 0.75, 0.5, 0.0, 0.0, NONE, NONE, NONE, 1000, 5_000_000, 1.5)
CANDIDATE = CandidateDistance("a/<b>", Size(10, 4.25), LOSS, KL, 0.75, 0.5, NONE, NONE, NONE)
SEVERAL = CandidatesEvaluation(LOSS, Size(20, 8.5), (CANDIDATE,), 1000, 5_000_000, 1.5)


@pytest.mark.parametrize(
    ("result", "line", "cells"),
    [
        (ALONE, "<Evaluation of 1,000 tokens: perplexity 20 +- 0.2>", ["20 +- 0.2", "50.00%"]),
        (
            PAIR,
            f"<PairEvaluation of 1,000 tokens: {DISTANCE}>",
            ["20 +- 0.2", DISTANCE],
        ),
        (
            SEVERAL,
            "<CandidatesEvaluation of 1,000 tokens: a/<b>>",
            ["a/&lt;b&gt;", f"4.25 bits, {DISTANCE}"],
        ),
    ],
    ids=["alone", "pair", "candidates"],
)
def test_a_result_is_a_line_and_a_table(result: Any, line: str, cells: list[str]) -> None:
    assert repr(result) == line
    table = result._repr_html_()
    assert table.startswith("<table><caption>Evaluation")
    assert all(f">{cell}</t" in table for cell in cells)


def test_a_run_is_a_line_whatever_was_lost() -> None:
    lost = {"tensors": {"w": {"relative": 0.1}}}
    whole = Outcome("out", 5, 2_000_000, 1.5, account=lost)
    assert repr(whole) == "<Outcome out: 2.00 MB, whole, in 1.5 s>"
    part = Outcome("out", 5, 2_000_000, 1.5, published=False, outstanding_bytes=1000)
    assert repr(part) == "<Outcome out: 2.00 MB, 1.0 kB outstanding, in 1.5 s>"
