"""Folder in which compiled kernels are kept for the next process."""

from __future__ import annotations

import hashlib
import os
import pkgutil

from grokpack import kernels
from grokpack.core.cache_folder import cache_folder


def compilation_cache() -> str:
    """Return the folder of kernels compiled from these very sources.

    numba recompiles a function if its own module has changed, and not if only a function has
    that it calls: of other sources, what lies in the cache would compute something else.
    """
    digest = hashlib.sha256()
    folders = [os.path.join(folder, "compiled") for folder in kernels.__path__]
    for name in sorted(module.name for module in pkgutil.iter_modules(folders)):
        digest.update(pkgutil.get_data("grokpack.kernels", f"compiled/{name}.py") or b"")
    return os.path.join(cache_folder(), "kernels", digest.hexdigest()[:16])
