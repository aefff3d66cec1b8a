"""Folder in which compiled kernels are kept for the next process."""

from __future__ import annotations

import hashlib
import os
import pkgutil
from typing import TYPE_CHECKING

from grokpack import kernels
from grokpack.core.cache_folder import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator


def compilation_cache() -> str:
    """Return the folder of kernels compiled from these very sources.

    numba recompiles a function if its own module has changed, and not if only a function or a
    constant has that it uses: of other sources, what lies in the cache would compute something
    else.
    """
    digest = hashlib.sha256()
    for path in _sources(""):
        digest.update(pkgutil.get_data("grokpack.kernels", path) or b"")
    return os.path.join(cache_folder(), "kernels", digest.hexdigest()[:16])


def _sources(package: str) -> Iterator[str]:
    """Yield the modules of a package and of those within it, as paths, and import none."""
    yield f"{package}__init__.py"
    folders = [os.path.join(folder, package) for folder in kernels.__path__]
    for module in sorted(pkgutil.iter_modules(folders), key=lambda found: found.name):
        if module.ispkg:
            yield from _sources(f"{package}{module.name}/")
        else:
            yield f"{package}{module.name}.py"
