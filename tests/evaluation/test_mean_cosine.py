"""Mean cosine of rows, against numpy's own arithmetic on each of them."""

from __future__ import annotations

import numpy as np
import pytest

from grokpack.evaluation.results import mean_cosine

DICE = np.random.default_rng(5)


def test_it_is_the_mean_over_rows_however_many() -> None:
    x, y = (DICE.standard_normal((700, 24)).astype(np.float32) for _ in range(2))
    rows = [
        np.dot(a.astype(float), b.astype(float)) / (np.linalg.norm(a) * np.linalg.norm(b))
        for a, b in zip(x, y, strict=True)
    ]
    assert mean_cosine(x, y) == pytest.approx(np.mean(rows), rel=1e-5)
    assert mean_cosine(x, 3 * x) == pytest.approx(1.0)
    assert mean_cosine(x, -x) == pytest.approx(-1.0)


def test_rows_of_zeros_agree_with_one_another_only() -> None:
    zeros = np.zeros((2, 4), np.float32)
    other = np.array([[0, 0, 0, 0], [1, 0, 0, 0]], np.float32)
    assert mean_cosine(zeros, zeros) == 1.0
    assert mean_cosine(zeros, other) == 0.5
