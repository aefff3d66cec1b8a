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
    return _compiled(function, {})


def uncounted(function: Kernel) -> Kernel:
    """Compile a function that makes no arrays of its own and returns none.

    It leaves the references to its arrays uncounted: to count is an atomic operation, which waits
    for every store before it, and where those go to memory that is most of the time there is.
    """
    return _compiled(function, {"_nrt": False})


def _compiled(function: Kernel, options: dict[str, Any]) -> Kernel:
    try:
        return cast("Kernel", numba.njit(nogil=True, cache=True, **options)(function))
    except RuntimeError:  # nowhere to keep it
        return cast("Kernel", numba.njit(nogil=True, **options)(function))
