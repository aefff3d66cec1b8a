"""Kernels compiled by numba; only `grokpack.kernels.dispatch` imports them.

Compiling takes seconds, on each machine and for each version anew. numba compiles a function for
each combination of types, layouts and mutability that it meets, and LLVM optimizes what a function
calls once more with it. Hence the form of each module:

- A public function, the twin, is plain Python. It makes the scratch, views arrays as bytes, and
  calls one compiled function, which meets one combination of types: arrays in C order, writable,
  of one dtype each; integers and bools.
- Twins are public modules here. What they call lies in packages: `_integer`, `_small_floats` and
  `_ggml` by format, `_tiles` for whole tiles, `_vectors` for registers.
- `compiled` is for functions that twins call, `inner` for those that are called from compiled ones.
- A literal integer is a type of its own. Where other calls pass other numbers, several are passed
  as a tuple, whose elements are plain integers.
- Compiled functions make no arrays. An argument has no default, and is never None.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
import numpy as np
from numba.core.registry import cpu_target

from grokpack.kernels.compilation_cache import compilation_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike

Kernel = TypeVar("Kernel", bound="Callable[..., Any]")

_LINE = 64  # bytes
_OPTIONS = {"nogil": True, "no_cfunc_wrapper": True, "_nrt": False}
"""Code releases the interpreter lock and has no entry for C. References to arrays are not counted:
counting is an atomic operation that waits for every store before it, and where those go to memory,
that takes most of the time. Without fastmath, results are those of IEEE arithmetic in the written
order."""


_target: Any = cpu_target
_target.target_context.refresh()
"""numba imports most of its modules when it first compiles, or loads from its cache. Two threads
that do so at once can each find modules of which the other has run a half, and fail."""

_settings: Any = numba.config
if not _settings.CACHE_DIR:  # of NUMBA_CACHE_DIR
    _settings.CACHE_DIR = compilation_cache()


def compiled(function: Kernel) -> Kernel:
    """Compile a function at its first call.

    The code is kept in the user's cache for the next process, where uninstalling the package leaves
    nothing beside it.
    """
    return _compiled(function, _OPTIONS)


def inner(function: Kernel) -> Kernel:
    """Compile a function that compiled functions alone call: it has no entry from Python."""
    return _compiled(function, {**_OPTIONS, "no_cpython_wrapper": True})


def allocate(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Return zeros that begin with a cache line, which vectors then do not straddle."""
    count, kind = math.prod(shape), np.dtype(dtype)
    raw = np.zeros(count * kind.itemsize + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    return raw[start : start + count * kind.itemsize].view(kind).reshape(shape)


def allocate_all(*arrays: tuple[int, DTypeLike]) -> tuple[np.ndarray, ...]:
    """Return flat arrays of so many zeros as `allocate` does, side by side in one allocation."""
    sizes = [count * np.dtype(dtype).itemsize for count, dtype in arrays]
    starts = [0, *accumulate(-(-size // _LINE) * _LINE for size in sizes)]
    raw = allocate((starts[-1],), np.uint8)
    return tuple(
        raw[start : start + size].view(dtype)
        for start, size, (_, dtype) in zip(starts, sizes, arrays, strict=False)
    )


def _compiled(function: Kernel, options: dict[str, Any]) -> Kernel:
    try:
        return cast("Kernel", numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no folder for the cache
        return cast("Kernel", numba.njit(**options)(function))
