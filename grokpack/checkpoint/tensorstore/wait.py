"""Interruptible waiting for TensorStore, which retries forever and cannot be told to stop."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.core.errors import GrokpackError, Interrupted, Place, ServerFailed

if TYPE_CHECKING:
    import tensorstore

_POLL_S = 0.1  # seconds between checks whether to stop
_SILENCES = 4  # times the silence limit of a connection: retries, and chunks on a slow line


def wait_for(future: tensorstore.Future[Any], folder: str) -> Any:  # noqa: ANN401  # whatever it is
    """Wait for a read of a store, as long as a working server needs, and return its result.

    Args:
        future: The read.
        folder: The store's folder or URL.

    Raises:
        GrokpackError: GP221 if nothing came in that time, GP403 once this thread is to stop.
    """
    longest = _longest_s(folder)
    ends = time.monotonic() + longest
    while not future.done():
        try:
            return future.result(timeout=_POLL_S)
        except TimeoutError:
            if storage.stopping():
                future.cancel()
                what = "stopped while waiting for a read"
                raise Interrupted(what, hint="the same command begins anew") from None
            if time.monotonic() > ends:
                future.cancel()
                raise _silent(folder, longest) from None
    return future.result()


def _longest_s(folder: str) -> float:
    """Return the seconds that a read may take; a disk is waited for without limit."""
    if not storage.is_url(folder):
        return math.inf
    from grokpack.storage.http.connections import SILENCE_S

    return _SILENCES * SILENCE_S


def _silent(folder: str, seconds: float) -> GrokpackError:
    hint = "see that the server can be reached, and run the same command again; it continues"
    facts = (("waited", f"{seconds:.0f} s for one read"),)
    return ServerFailed("the server does not deliver", Place(folder), facts, hint)
