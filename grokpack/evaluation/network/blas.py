"""One thread for each call of BLAS: the lanes are the threads."""

from __future__ import annotations

import importlib
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""What BLAS libraries read when they are loaded: OpenBLAS, MKL, OpenMP's, Apple's."""


def ask_for_one_thread() -> None:
    """For a process that has not imported numpy yet: what the user has set stays."""
    for name in VARIABLES:
        os.environ.setdefault(name, "1")


def one_thread() -> AbstractContextManager[Any]:
    """While it lasts, each call of numpy's BLAS runs in its caller's thread.

    It takes threadpoolctl, where that is installed. Without it BLAS starts threads of its own
    beside the lanes, unless the environment told it otherwise: slower, and no less right.
    """
    try:
        threadpoolctl: Any = importlib.import_module("threadpoolctl")
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = threadpoolctl.threadpool_limits(1, user_api="blas")
    return limits
