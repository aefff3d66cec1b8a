"""Limit on the headers of one checkpoint together, over all of its files."""

from __future__ import annotations

import threading

from grokpack.core.errors import InputTooLarge, Place

_MOST_ARRAYS = 1 << 17  # Grok-1 for 48 ranks with zero points has 60,000
_MOST_BYTES = 64 << 20  # the largest vocabulary takes 20 MB in GGUF


class Allowance:
    """Budget of arrays and bytes that the headers of all files share."""

    def __init__(self) -> None:
        self._arrays, self._bytes = _MOST_ARRAYS, _MOST_BYTES
        self._lock = threading.Lock()

    def take(self, path: str, *, arrays: int = 0, nbytes: int = 0) -> None:
        """Charge the size of a header before it is parsed.

        Raises:
            GrokpackError: GP235 if it exceeds what is left.
        """
        with self._lock:
            self._arrays -= arrays
            self._bytes -= nbytes
            if self._arrays >= 0 and self._bytes >= 0:
                return
        limits = f"{_MOST_ARRAYS:,} arrays, {_MOST_BYTES:,} bytes"
        what = "the headers are larger than those of any checkpoint"
        raise InputTooLarge(what, Place(path), (("limits", limits),))
