"""Specializations of compiled kernels: the types for which numba has compiled each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

PACKAGE = "grokpack.kernels.compiled"


def repeated() -> list[str]:
    """Kernels that this process has compiled for types that differ in layout or mutability alone.

    Each of them was compiled once more than its arrays' dtypes need.
    """
    found = []
    for name, kernel in _kernels():
        plain = [tuple(map(_plain, signature)) for signature in kernel.signatures]
        if len(set(plain)) < len(plain):
            found.append(f"{name}: {kernel.signatures}")
    return found


def _kernels() -> Iterator[tuple[str, Any]]:
    for name, module in list(sys.modules.items()):
        if name.startswith(PACKAGE):
            for value in vars(module).values():
                if hasattr(value, "py_func") and value.py_func.__module__ == name:
                    yield f"{name.removeprefix(PACKAGE)}.{value.py_func.__name__}", value


def _plain(kind: Any) -> str:
    """A type without what calls for no other code: of an array its dtype and dimensions."""
    import numba

    types: Any = numba.types  # parts of it have no types
    if isinstance(kind, types.Array):
        return f"{kind.dtype}[{kind.ndim}]"
    if isinstance(kind, types.BaseTuple):
        return f"({', '.join(map(_plain, kind))})"
    return str(kind)
