"""CRC-32C (Castagnoli), the checksum of OCDBT's nodes and of zarr's shards."""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING, cast

from grokpack.core.errors import GrokpackError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


def crc32c(data: bytes | np.ndarray) -> int:
    """Compute the checksum of bytes, or of a contiguous array without copying it.

    The interpreter's lock is held for an array, some 50 microseconds for a chunk of a megabyte; it
    is released for large bytes alone, and copying an array to bytes would hold it for 30.

    Raises:
        GrokpackError: GP307 if google-crc32c was installed without its compiled part.
    """
    return _compiled()(data)


@cache
def _compiled() -> Callable[[bytes | np.ndarray], int]:
    """Import the function that uses the processor's own instruction."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the error below says it better
        import google_crc32c
    if google_crc32c.implementation != "c":
        what = (
            "checksums need the compiled part of `google-crc32c`, which is not installed: without "
            "it, they take a second for each megabyte"
        )
        hint = "pip install --force-reinstall --only-binary google-crc32c google-crc32c"
        raise GrokpackError("GP307", what, hint=hint)
    return cast("Callable[[bytes | np.ndarray], int]", google_crc32c.value)
