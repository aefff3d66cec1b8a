"""Choice of a kernel's implementation: the numpy specification, or its twin compiled by numba.

A kernel is a public function of a module here, `grokpack/kernels/NAME.py`, written in plain numpy:
that is the specification. Its twin is the function of the same name and arguments in
`grokpack/kernels/compiled/NAME.py`. Both give the same bits, so that results never show which of
them ran; only time and memory do.

Callers choose the implementation once, before they start threads, and get each kernel through
`twin`:

    implementation = choose_implementation(work_bytes)
    count = twin(statistics.count_codes, implementation)
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from grokpack.core.errors import GrokpackError

if TYPE_CHECKING:
    from collections.abc import Callable

Implementation = Literal["numpy", "numba"]
Kernel = TypeVar("Kernel", bound="Callable[..., Any]")

VARIABLE = "GROKPACK_KERNELS"
"""Environment variable for the implementation: `numpy`, `numba`, or `auto`, the default."""

COMPILED_PAYS_BYTES = 1 << 30
"""Input from which on compiling pays. Importing numba and loading the kernels from its cache takes
0.3 s, compiling them the first time 4 to 12 s; numpy needs 0.7 s more for a GB of int8."""

COMPILED_RESIDENT_BYTES = 184 << 20
"""Resident memory that numba and its compiler add to a process, rounded up: 115 MB with kernels
from its cache; 190 MB where those of int4 are compiled, 162 MB where K-quants' are."""


def choose_implementation(work_bytes: int) -> Implementation:
    """Return the implementation for a run that will put `work_bytes` of input through kernels.

    Raises:
        GrokpackError: GP308 if the variable has an invalid value, or asks for numba where that
            cannot be loaded.
    """
    wanted = os.environ.get(VARIABLE) or "auto"
    if wanted not in ("auto", "numpy", "numba"):
        raise GrokpackError(
            "GP308",
            f"{VARIABLE}={wanted} is none of auto, numba and numpy",
            hint=f"unset {VARIABLE}",
        )
    if wanted == "numpy" or (wanted == "auto" and work_bytes < COMPILED_PAYS_BYTES):
        return "numpy"
    if compiler_loads():
        return "numba"
    if wanted == "numba":
        raise GrokpackError(
            "GP308",
            f"{VARIABLE}=numba, but numba cannot be loaded here",
            hint=f"`python -c 'import numba'` says why; {VARIABLE}=numpy needs none of it",
        )
    return "numpy"


@cache
def compiler_loads() -> bool:
    """Return whether numba can be imported and compiles.

    It refuses a numpy newer than it knows with ImportError; a build for another machine fails with
    OSError. With NUMBA_DISABLE_JIT its functions are loops that Python itself runs.
    """
    try:
        from numba import config
    except (ImportError, OSError):
        return False
    return not getattr(config, "DISABLE_JIT", 0)  # set when numba is imported


def twin(kernel: Kernel, implementation: Implementation) -> Kernel:
    """Return the function that implements a kernel: itself for `numpy`, else its compiled twin."""
    if implementation == "numpy":
        return kernel
    package, _, name = kernel.__module__.rpartition(".")
    module = importlib.import_module(f"{package}.compiled.{name}")
    return cast("Kernel", getattr(module, kernel.__name__))
