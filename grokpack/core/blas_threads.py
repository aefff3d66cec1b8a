"""Limit of one thread per BLAS call.

Where matrices are multiplied, threads do it already. Where none are, BLAS's own threads look for
work as soon as numpy is loaded, and take a tenth of a second of a core that finds none.
"""

from __future__ import annotations

import importlib
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""Variables that BLAS libraries read when loaded: OpenBLAS, MKL, OpenMP's, Apple's."""


def ask_for_one_thread() -> None:
    """Request one thread, before numpy is imported; variables set by the user keep their value."""
    for name in VARIABLES:
        os.environ.setdefault(name, "1")


def one_thread() -> AbstractContextManager[Any]:
    """Run each call of numpy's BLAS in its caller's thread while the block lasts.

    It uses threadpoolctl if that is installed. Without it, BLAS starts its own threads beside the
    lanes, unless the environment forbids it. That is slower, but the results are the same.
    """
    try:
        threadpoolctl: Any = importlib.import_module("threadpoolctl")
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = threadpoolctl.threadpool_limits(1, user_api="blas")
    return limits
