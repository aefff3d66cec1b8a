"""Calibration files: mean squares of the inputs of each weight."""

from __future__ import annotations

FORMAT, VERSION = "grokpack-calibration", "1"
MEAN_SQUARE, TOKENS = "mean_square", "tokens"
