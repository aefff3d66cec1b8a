"""The compiled twins of the kernels. Only `grokpack.kernels.dispatch` imports them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

Kernel = TypeVar("Kernel", bound="Callable[..., Any]")


def compiled(function: Kernel) -> Kernel:
    """Compile a function at its first call, to machine code that releases the interpreter.

    The code is kept beside the source or in the user's cache, whichever can be written, for the
    next process. No fastmath: results are those of IEEE arithmetic in the order written.
    """
    try:
        return cast("Kernel", numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:  # nowhere to keep it
        return cast("Kernel", numba.njit(nogil=True)(function))
