"""Waits for TensorStore that end once this thread is to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.core.errors import Interrupted

if TYPE_CHECKING:
    import threading

    import tensorstore

_POLL_S = 0.1  # seconds between checks whether to stop


def wait_for(future: tensorstore.Future[Any]) -> Any:  # noqa: ANN401  # whatever it is
    """Wait for TensorStore, and return its result.

    Raises:
        GrokpackError: GP403 once this thread is to stop.
    """
    while not future.done():
        try:
            return future.result(timeout=_POLL_S)
        except TimeoutError:
            if storage.stopping():
                future.cancel()
                raise _stopped() from None
    return future.result()


def wait_until(event: threading.Event) -> None:
    """Wait for an event of another thread.

    Raises:
        GrokpackError: GP403 once this thread is to stop.
    """
    while not event.wait(_POLL_S):
        if storage.stopping():
            raise _stopped()


def _stopped() -> Interrupted:
    return Interrupted("stopped while waiting for a read", hint="the same command begins anew")
