"""Scale groups of the inputs of a weight."""

from __future__ import annotations

import numpy as np


def group_index(first: int, count: int, per_group: int, step: int = 1) -> np.ndarray:
    """Return the group of each of some inputs, `i64[ceil(count / step)]`.

    Groups are counted from that of the first input, as rows of scales are read.

    Args:
        first: The first input.
        count: Number of inputs.
        per_group: Inputs in a group.
        step: Distance of the inputs that are asked for.
    """
    index: np.ndarray = (first % per_group + np.arange(0, count, step)) // per_group
    return index
