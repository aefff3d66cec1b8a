"""BLAS limited to one thread per call: the lanes are the threads."""

from __future__ import annotations

import importlib
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""Variables that BLAS libraries read when loaded: OpenBLAS, MKL, OpenMP's, Apple's."""


def ask_for_one_thread() -> None:
    """Ask for one thread before numpy is imported; variables that the user has set stay."""
    for name in VARIABLES:
        os.environ.setdefault(name, "1")


def one_thread() -> AbstractContextManager[Any]:
    """Run each call of numpy's BLAS in its caller's thread while the block lasts.

    It uses threadpoolctl if that is installed. Without it BLAS starts threads of its own beside the
    lanes, unless the environment forbids it: slower, but as correct.
    """
    try:
        threadpoolctl: Any = importlib.import_module("threadpoolctl")
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = threadpoolctl.threadpool_limits(1, user_api="blas")
    return limits
